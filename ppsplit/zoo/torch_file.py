"""PyTorch's two file formats as values: the zip of torch 1.6 and later, and the stream of pickles before it."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import numpy as np

from ppsplit.errors import UnsafePickleError, WeightsError
from ppsplit.zoo.pickled_tensors import Storage, Tensor, torch_vocabulary
from ppsplit.zoo.safe_pickle import load_pickle, load_pickle_at

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
MAX_PICKLE_BYTES = 64 * 2**20  # a pickle holds names and shapes; a large network's has 1 MiB
MAX_ENTRIES = 100_000
LEGACY_HEADER_PICKLES = 3  # magic, version, sizes of C's types; then the value, then the storages' keys

# a tensor to its numbers
Reader = Callable[[Tensor], np.ndarray]


def read_torch_zip(path: Path) -> Tuple[Any, Reader]:
    """The value in a zip that `torch.save` wrote, and what reads its tensors.

    Raises:
        WeightsError: damaged, not such a zip, or its sizes lie; also by the reader, for a storage that is missing.
        UnsafePickleError: it asks for something to be executed.
    """
    with _refusing(path):
        data = Path(path).read_bytes()
        archive = zipfile.ZipFile(io.BytesIO(data))
        entries = _checked_entries(archive, len(data), path)
        root = _root(list(entries), path)
        order = archive.read(f"{root}/byteorder") if f"{root}/byteorder" in entries else b"little"
        pickled = archive.read(f"{root}/data.pkl")
    if order.strip() != b"little":
        raise WeightsError(f"{path} was written with byte order {order[:20]!r}; save it on a little-endian machine")
    value = load_pickle(pickled, str(path), torch_vocabulary())
    cache: Dict[Tuple[str, str], np.ndarray] = {}

    def read(tensor: Tensor) -> np.ndarray:
        storage = tensor.storage
        if (storage.key, storage.dtype) not in cache:
            with _refusing(path):
                found = entries.get(f"{root}/data/{storage.key}")
                if found is None:
                    raise WeightsError(f"{path} lacks storage {storage.key!r}; it is damaged, fetch it again")
                _check_bytes(storage, found.file_size, path)
                cache[storage.key, storage.dtype] = storage.numbers(archive.read(found))
        return tensor.array(cache[storage.key, storage.dtype])

    return value, read


def is_legacy_torch(start: bytes) -> bool:
    """Whether a file that begins so is the stream of pickles of torch before 1.6."""
    return start.startswith(b"\x80\x02\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little"))


def read_torch_stream(path: Path) -> Tuple[Any, Reader]:
    """As `read_torch_zip`, of the older format: pickles one behind the other, then the storages' bytes."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}; give a .pth file") from error
    vocabulary, position = torch_vocabulary(), 0
    values: List[Any] = []
    for _ in range(LEGACY_HEADER_PICKLES + 2):
        value, position = load_pickle_at(data, position, str(path), vocabulary)
        values.append(value)
    keys = values[-1]
    if type(keys) is not list or any(type(key) is not str for key in keys):
        raise WeightsError(f"{path} has no list of storages; it is damaged, fetch it again")
    starts = _storage_starts(data, position, keys, values[-2], path)

    def read(tensor: Tensor) -> np.ndarray:
        storage = tensor.storage
        if storage.key not in starts:
            raise WeightsError(f"{path} lacks storage {storage.key!r}; it is damaged, fetch it again")
        start, size = starts[storage.key]
        _check_bytes(storage, size, path)
        return tensor.array(storage.numbers(data[start : start + size]))

    return values[-2], read


def _storage_starts(data: bytes, position: int, keys: List[str], value: Any, path: Path) -> Dict[str, Tuple[int, int]]:
    """Key to where its bytes begin and how many there are. Their number's type stands in the value only."""
    item_bytes = {storage.key: storage.item_bytes for storage in _storages(value)}
    starts = {}
    for key in keys:
        if key not in item_bytes or position + 8 > len(data):
            raise WeightsError(f"{path} is truncated or has a storage {key!r} that nothing uses; fetch it again")
        (elements,) = struct.unpack_from("<q", data, position)
        size = elements * item_bytes[key]
        if elements < 0 or position + 8 + size > len(data):
            raise WeightsError(f"{path} is truncated in storage {key!r}; fetch it again")
        starts[key] = (position + 8, size)
        position += 8 + size
    return starts


def _storages(value: Any) -> List[Storage]:
    """Every storage that a value's tensors use; each object is looked at once, so that no nesting can explode."""
    found: List[Storage] = []
    waiting, seen = [value], set()
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            found.append(item.storage)
        elif type(item) is dict:
            waiting.extend(item.values())
        elif type(item) in (list, tuple):
            waiting.extend(item)
        elif hasattr(item, "state"):
            waiting.append(item.state)
    return found


def _checked_entries(archive: zipfile.ZipFile, file_bytes: int, path: Path) -> Dict[str, zipfile.ZipInfo]:
    """Name to entry. torch.save compresses nothing, so what is larger unpacked than the file is a bomb."""
    infos = archive.infolist()
    if len(infos) > MAX_ENTRIES:
        raise WeightsError(f"{path} has {len(infos)} entries, at most {MAX_ENTRIES} are expected; do not trust it")
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise WeightsError(f"{path} has a compressed entry {info.filename[:60]!r}; torch.save writes none")
    if sum(info.file_size for info in infos) > file_bytes:
        raise WeightsError(f"{path} unpacks to more than its {file_bytes} bytes; its entries overlap, do not trust it")
    return {info.filename: info for info in infos}


def _root(names: List[str], path: Path) -> str:
    """The folder in the zip that holds data.pkl."""
    roots = [name.split("/")[0] for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise WeightsError(f"{path} is a zip without one data.pkl in it; give a file that torch.save wrote")
    if f"{roots[0]}/constants.pkl" in names:
        raise UnsafePickleError(
            f"{path} was refused: it is a TorchScript program; give the weights, saved by torch.save"
        )
    return roots[0]


def _check_bytes(storage: Storage, size: int, path: Path) -> None:
    if size != storage.elements * storage.item_bytes:
        raise WeightsError(
            f"{path}: storage {storage.key!r} has {size} bytes, {storage.elements} elements of {storage.dtype} take "
            f"{storage.elements * storage.item_bytes}; it is damaged, fetch it again"
        )


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """What a damaged zip raises, as WeightsError."""
    try:
        yield
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}; give a weight file") from error
    except (zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, ValueError, LookupError, EOFError) as error:
        raise WeightsError(f"{path} is a damaged zip ({error}); fetch it again") from error
