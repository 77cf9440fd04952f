"""One reader for the weight files that are pickles inside: `.pdparams`, `.pt`, `.pth`. Told apart by their first bytes.

Whatever the file asks for, nothing of it is executed and nothing it names is imported.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple

import numpy as np

from ppsplit.errors import WeightsError
from ppsplit.zoo.pickled_tensors import Tensor
from ppsplit.zoo.safe_pickle import load_pickle
from ppsplit.zoo.torch_file import Reader, is_legacy_torch, read_torch_stream, read_torch_zip
from ppsplit.zoo.vocabulary import Record

STRUCTURE_KEY = "StructuredToParameterName@@"  # paddle.save puts a table of parameter names beside the arrays
MODEL_KEYS = ("ema", "model", "state_dict")  # where training programs keep the network, the averaged one first
MAX_TENSORS, MAX_DEPTH = 100_000, 64
ZIP_START = b"PK\x03\x04"


@dataclass(frozen=True)
class WeightFile:
    """What a weight file holds.

    Attributes:
        arrays: structural name ("model.0.conv.weight") to array; bfloat16 has become float32.
        settings: of a whole pickled network, likewise by name: plain attributes of its layers ("model.0.bn.eps").
        kind: the pickled network's class, "" for a plain table of tensors.
    """

    arrays: Dict[str, np.ndarray]
    settings: Dict[str, Any] = field(default_factory=dict)
    kind: str = ""


def read_weight_file(path: Path) -> WeightFile:
    """Read a `.pdparams` of paddle.save, or a `.pt` or `.pth` of torch.save.

    Raises:
        WeightsError: cannot be read, is truncated, its sizes lie, or it holds something other than weights.
        UnsafePickleError: the file asks for something to be executed; the message names it.
    """
    path = Path(path)
    try:
        with open(path, "rb") as stream:
            start = stream.read(16)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}; give a .pdparams, .pt or .pth file") from error
    if start.startswith(ZIP_START):
        return _torch_weights(*read_torch_zip(path), path)
    if is_legacy_torch(start):
        return _torch_weights(*read_torch_stream(path), path)
    return WeightFile(_paddle_arrays(load_pickle(path.read_bytes(), str(path)), path))


def is_torch_file(path: Path) -> bool:
    """Whether the file is one of PyTorch's, going by its first bytes and, for a zip, by the entries' names."""
    with open(path, "rb") as stream:
        start = stream.read(16)
    if not start.startswith(ZIP_START):
        return is_legacy_torch(start)
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, EOFError, OSError):
        return False


def _paddle_arrays(values: Any, path: Path) -> Dict[str, np.ndarray]:
    if not isinstance(values, dict):
        raise WeightsError(f"{path} holds a {type(values).__name__}; expected named arrays, as paddle.save writes")
    arrays: Dict[str, np.ndarray] = {}
    for name, value in values.items():
        if name == STRUCTURE_KEY:
            continue
        if isinstance(value, tuple) and len(value) == 2:  # (parameter's name, array)
            value = value[1]
        if not isinstance(name, str) or not isinstance(value, np.ndarray):
            raise WeightsError(f"{path}: {name!r} is a {type(value).__name__}; expected an array for every name")
        arrays[name] = value
    return arrays


def _torch_weights(value: Any, read: Reader, path: Path) -> WeightFile:
    network = value
    if type(value) is dict and not any(isinstance(item, Tensor) for item in value.values()):
        network = next((value[key] for key in MODEL_KEYS if isinstance(value.get(key), (dict, Record))), value)
    if isinstance(network, Record):
        named = dict(_checked(_tensors_of(network), path))
        settings = dict(_checked(_settings_of(network), path))
        return WeightFile({name: read(tensor) for name, tensor in named.items()}, settings, network.name)
    if type(network) is not dict or not network:
        raise WeightsError(f"{path} holds a {type(network).__name__}; expected a network or a table of its tensors")
    wrong = [name for name, item in network.items() if not (type(name) is str and isinstance(item, Tensor))]
    if wrong:
        raise WeightsError(f"{path}: {wrong[0]!r:.80} is no named tensor; expected a network or a table of its tensors")
    return WeightFile({name: read(tensor) for name, tensor in network.items()})


def _modules(record: Record, prefix: str = "", depth: int = 0) -> Iterator[Tuple[str, Record]]:
    """A pickled network and its parts, with their dotted names (those of PyTorch's `state_dict`)."""
    if depth > MAX_DEPTH:
        raise ValueError(f"its modules are nested more than {MAX_DEPTH} deep")
    yield prefix, record
    children = record.state.get("_modules", {})
    for name, child in children.items() if type(children) is dict else ():
        if isinstance(child, Record):
            yield from _modules(child, f"{prefix}{name}.", depth + 1)


def _tensors_of(network: Record) -> Iterator[Tuple[str, Tensor]]:
    for prefix, record in _modules(network):
        for table in ("_parameters", "_buffers"):
            tensors = record.state.get(table, {})
            for name, tensor in tensors.items() if type(tensors) is dict else ():
                if isinstance(tensor, Tensor):
                    yield f"{prefix}{name}", tensor


def _settings_of(network: Record) -> Iterator[Tuple[str, Any]]:
    for prefix, record in _modules(network):
        for name, value in record.state.items():
            if type(value) in (bool, int, float, str) or (not prefix and type(value) in (list, dict)):
                yield f"{prefix}{name}", value


def _checked(items: Iterator[Tuple[str, Any]], path: Path) -> Iterator[Tuple[str, Any]]:
    """The same, but not without end: modules may contain each other, or one the next twice, many times over."""
    try:
        for count, item in enumerate(items):
            if count >= MAX_TENSORS:
                raise ValueError(f"it holds more than {MAX_TENSORS} values")
            yield item
    except ValueError as error:
        raise WeightsError(f"{path} is no network ({error}); fetch it again") from error
