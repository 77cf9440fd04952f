"""What a learned codec knows beforehand about the tensors of one cut; a file of the bundle that both halves hold.

Version 2 is numpy's .npz, without pickles: arrays named `TENSOR/mean`, `TENSOR/forward`, `TENSOR/worth` and
`TENSOR/RUNG/...`, where TENSOR and RUNG count from 0, beside `version`, `step` and `qualities`.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Mapping, Tuple

import numpy as np

from ppsplit.codec.entropy_model import EntropyModel
from ppsplit.codec.importance import SCALES
from ppsplit.codec.transform import TAPS
from ppsplit.errors import CodecError
from ppsplit.files import sha256_of

VERSION = 2
WORST, MIDDLE, BEST = 1, 50, 100
QUALITIES_PER_OCTAVE = 16.0  # so much better halves the step
# what numpy and zipfile raise for files that are damaged, or are something else
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, NotImplementedError, zlib.error, zipfile.BadZipFile)
_TENSOR_FIELDS = ("mean", "forward", "worth")
_MODEL_FIELDS = tuple(field.name for field in dataclasses.fields(EntropyModel))


@dataclass(frozen=True)
class Rung:
    """What was fitted at one quality, and serves the qualities around it.

    Attributes:
        model: of the integers of the first K components; the others are 0 at this quality, and not sent.
        backward: float32 [C, len(TAPS) * K], from integers to values.
    """

    model: EntropyModel
    backward: np.ndarray


@dataclass(frozen=True)
class TensorTables:
    """Of one tensor.

    Attributes:
        mean: float32 [C].
        forward: float32 [at least K, C], in units of the middle quality's step.
        worth: float32 [SCALES, 2 F + 1], as `importance.worth_of` has it.
        rungs: one for each of `FeatureTables.qualities`.
    """

    mean: np.ndarray
    forward: np.ndarray
    worth: np.ndarray
    rungs: Tuple[Rung, ...]

    def __post_init__(self) -> None:
        components, channels = self.forward.shape if self.forward.ndim == 2 else (0, 0)
        looked_at = self.worth.shape[1] // 2 if self.worth.ndim == 2 else 0
        if looked_at > components:
            raise CodecError(f"codec tables: worth looks at {looked_at} components of {components}")
        _check("mean", self.mean, (channels,))
        _check("forward", self.forward, (components, channels))
        _check("worth", self.worth, (SCALES, 2 * looked_at + 1))
        for rung in self.rungs:
            if rung.model.channels > components:
                raise CodecError(f"codec tables: a model has {rung.model.channels} components, expected {components}")
            _check("backward", rung.backward, (channels, len(TAPS) * rung.model.channels))


def _check(name: str, array: np.ndarray, shape: Tuple[int, ...]) -> None:
    if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
        raise CodecError(f"codec tables: {name} is {array.dtype} {array.shape}, expected finite float32 {shape}")


@dataclass(frozen=True)
class FeatureTables:
    """Of all tensors of a cut that go as integers; the others go lossless.

    Attributes:
        qualities: ascending, of the rungs.
        tensors: by name.
    """

    qualities: Tuple[int, ...]
    tensors: Mapping[str, TensorTables]

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip(self.qualities, self.qualities[1:]))
        if not self.qualities or not ascending or not all(WORST <= q <= BEST for q in self.qualities):
            raise CodecError(f"codec tables: the qualities {self.qualities} are not ascending within {WORST}..{BEST}")
        if any(len(tables.rungs) != len(self.qualities) for tables in self.tensors.values()):
            raise CodecError("codec tables: a tensor lacks rungs; calibrate the bundle again")

    def rung(self, name: str, quality: int) -> Rung:
        """Of a tensor, the one fitted nearest to `quality`."""
        nearest = min(range(len(self.qualities)), key=lambda index: abs(self.qualities[index] - quality))
        return self.tensors[name].rungs[nearest]


def scale_of(quality: int) -> float:
    """What components are multiplied by before they are rounded: 1 at MIDDLE, doubled by QUALITIES_PER_OCTAVE.

    Raises:
        CodecError: no quality.
    """
    if type(quality) is not int or not WORST <= quality <= BEST:
        raise CodecError(f"the quality is {quality!r}; expected a whole number from {WORST} to {BEST}")
    return float(2.0 ** ((quality - MIDDLE) / QUALITIES_PER_OCTAVE))


def to_bytes(tables: FeatureTables) -> bytes:
    """The tables as a file's content; equal tables give equal bytes."""
    arrays: Dict[str, np.ndarray] = {
        "version": np.array(VERSION, np.int32),
        "qualities": np.array(tables.qualities, np.int32),
        "names": np.array(list(tables.tensors), np.str_),
    }
    for index, tensor in enumerate(tables.tensors.values()):
        arrays.update({f"{index}/{name}": getattr(tensor, name) for name in _TENSOR_FIELDS})
        for number, rung in enumerate(tensor.rungs):
            arrays[f"{index}/{number}/backward"] = rung.backward
            arrays.update({f"{index}/{number}/{name}": getattr(rung.model, name) for name in _MODEL_FIELDS})
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def from_bytes(data: bytes) -> FeatureTables:
    """Inverse of `to_bytes`.

    Raises:
        CodecError: no tables, of another version, or damaged.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            version = int(archive["version"])
            if version != VERSION:
                raise CodecError(
                    f"the codec tables have version {version}, this ppsplit reads {VERSION}; calibrate again"
                )
            qualities = tuple(int(quality) for quality in archive["qualities"])
            names = [str(name) for name in archive["names"]]
            tensors = {name: _tensor(archive, index, len(qualities)) for index, name in enumerate(names)}
    except _UNREADABLE as error:
        raise CodecError(f"the codec tables cannot be read ({error}); calibrate the bundle again") from error
    return FeatureTables(qualities, tensors)


def _tensor(archive: Mapping[str, np.ndarray], index: int, rungs: int) -> TensorTables:
    found = []
    for number in range(rungs):
        fields = {name: np.ascontiguousarray(archive[f"{index}/{number}/{name}"]) for name in _MODEL_FIELDS}
        found.append(Rung(EntropyModel(**fields), np.ascontiguousarray(archive[f"{index}/{number}/backward"])))
    mean, forward, worth = (archive[f"{index}/{name}"] for name in _TENSOR_FIELDS)
    return TensorTables(mean, forward, worth, tuple(found))


def load_tables(path: Path) -> FeatureTables:
    """Read a file of tables; the same content is read once. Raises CodecError, OSError."""
    return _loaded(str(path), sha256_of(path))


@functools.lru_cache(maxsize=8)
def _loaded(path: str, sha256: str) -> FeatureTables:
    return from_bytes(Path(path).read_bytes())
