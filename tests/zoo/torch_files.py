"""Files of PyTorch's format, written without PyTorch: real ones, and ones that lie. Never to be read by pickle."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {
    "<f4": "FloatStorage",
    "<f2": "HalfStorage",
    "<i8": "LongStorage",
    "|u1": "ByteStorage",
    "<f8": "DoubleStorage",
}


def named_class(dotted: str) -> type:
    """A class that `Pickler` writes under this name, which need not exist."""
    return type(dotted.rpartition(".")[2], (), {"pickled_as": dotted})


class Stored:
    """A storage: what the pickler writes as a persistent id."""

    def __init__(self, key: str, kind: str, elements: int) -> None:
        self.key, self.kind, self.elements = key, kind, elements


class Call:
    """Pickles as a call of the global `name`."""

    def __init__(self, name: str, *arguments: Any) -> None:
        self.name, self.arguments = name, arguments

    def __reduce__(self) -> Tuple[Any, ...]:
        return named_class(self.name), self.arguments


def tensor(storage: Stored, offset: int, size: Tuple[int, ...], stride: Tuple[int, ...]) -> Call:
    return Call("torch._utils._rebuild_tensor_v2", storage, offset, size, stride, False, {})


class Pickler(pickle._Pickler):  # type: ignore[name-defined]  # the one in Python, whose methods can be overridden
    legacy = False

    def save_global(self, obj: Any, name: Any = None) -> None:
        dotted = getattr(obj, "pickled_as", None)
        if dotted is None:
            super().save_global(obj, name)
        else:
            module, _, attribute = dotted.rpartition(".")
            self.write(pickle.GLOBAL + f"{module}\n{attribute}\n".encode())

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Stored):
            return None
        identity = ("storage", named_class(f"torch.{obj.kind}"), obj.key, "cpu", obj.elements)
        return (*identity, None) if self.legacy else identity


def dumps(value: Any, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    pickler = Pickler(stream, protocol=2)
    pickler.legacy = legacy
    pickler.dump(value)
    return stream.getvalue()


class Model:
    """Collects arrays as storages while a value is made of them."""

    def __init__(self) -> None:
        self.storages: List[Tuple[str, bytes]] = []

    def tensor(self, array: np.ndarray, kind: str = "") -> Call:
        """The whole of an array, in C order."""
        key = str(len(self.storages))
        array = np.array(array, order="C")
        self.storages.append((key, array.tobytes()))
        strides = tuple(step // array.itemsize for step in array.strides)
        return tensor(Stored(key, kind or STORAGES[array.dtype.str], array.size), 0, array.shape, strides)

    def module(self, dotted: str, children: Dict[str, Any], **state: Any) -> Any:
        """An object of a class of that name; arrays among `state` become parameters."""
        made = named_class(dotted)()
        parameters = {name: self.tensor(value) for name, value in state.items() if isinstance(value, np.ndarray)}
        plain = {name: value for name, value in state.items() if not isinstance(value, np.ndarray)}
        made.__dict__ = {**plain, "_parameters": parameters, "_buffers": {}, "_modules": children}
        return made

    def write_zip(
        self, path: Path, value: Any, compression: int = zipfile.ZIP_STORED, order: bytes = b"little"
    ) -> Path:
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("net/data.pkl", dumps(value))
            archive.writestr("net/byteorder", order)
            for key, data in self.storages:
                archive.writestr(f"net/data/{key}", data)
        return path

    def write_stream(self, path: Path, value: Any, item_bytes: int) -> Path:
        """The older format."""
        parts = [dumps(part) for part in (LEGACY_MAGIC, 1001, {"little_endian": True})]
        parts.append(dumps(value, legacy=True))
        parts.append(dumps([key for key, _ in self.storages]))
        parts += [struct.pack("<q", len(data) // item_bytes) + data for _, data in self.storages]
        path.write_bytes(b"".join(parts))
        return path
