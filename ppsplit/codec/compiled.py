"""The compiled core of the wavefront coder, where installing this package found a C compiler."""

from __future__ import annotations

import ctypes
import functools
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Optional, Tuple

import numpy as np

from ppsplit.codec.entropy_model import EntropyModel
from ppsplit.errors import CodecError

LIBRARY = "_wavefront"
NO_MEMORY = -1
FIELDS = ("predict", "prior", "weights", "thresholds", "radius", "cumulative", "price")


class _Model(ctypes.Structure):
    """`Model` of wavefront.c; fields in its order."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("channels", "height", "width", "bins")),
        *((name, ctypes.c_void_p) for name in FIELDS),
    ]


class _Wish(ctypes.Structure):
    """`Wish` of wavefront.c; fields in its order."""

    _fields_ = [("components", ctypes.c_void_p), ("worth", ctypes.c_void_p), ("trade", ctypes.c_int64)]


class CompiledCore:
    """wavefront.c, loaded. Calls hold no lock of Python's, and share nothing."""

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, size = ctypes.c_void_p, ctypes.c_int64
        self._encode, self._decode = library.wavefront_encode, library.wavefront_decode
        self._encode.argtypes, self._encode.restype = [pointer, pointer, pointer, pointer, size], size
        self._decode.argtypes, self._decode.restype = [pointer, pointer, size, pointer, size, pointer], size

    def encode(self, values: np.ndarray, model: EntropyModel) -> bytes:
        """As `wavefront.encode_map`, of int32 values that were checked."""
        return self._encoded(None, values, model)

    def encode_components(
        self, fixed: np.ndarray, worth: np.ndarray, trade: int, model: EntropyModel
    ) -> Tuple[bytes, np.ndarray]:
        """As `wavefront.encode_components`, of int32 components in 1/256 that were checked."""
        values = np.empty(fixed.shape, np.int32)
        wish = _Wish(fixed.ctypes.data, worth.ctypes.data, trade)
        return self._encoded(wish, values, model), values

    def _encoded(self, wish: Optional[_Wish], values: np.ndarray, model: EntropyModel) -> bytes:
        capacity = 128 + 5 * values.size  # 2 bytes of words and 3 of escapes an element, and the states
        out = np.empty(capacity, np.uint8)
        described = _described(values.shape, model)
        written = self._encode(
            ctypes.byref(described),
            None if wish is None else ctypes.byref(wish),
            *(values.ctypes.data, out.ctypes.data, capacity),
        )
        if written < 0:
            raise CodecError(f"no memory to encode features of shape {values.shape}; use a smaller batch or input")
        return out[:written].tobytes()

    def decode(
        self, escapes: bytes, coded: bytes, shape: Tuple[int, int, int], model: EntropyModel
    ) -> Optional[np.ndarray]:
        """As `wavefront.decode_map`; None where the bytes are damaged."""
        values = np.empty(shape, np.int32)
        described = ctypes.byref(_described(shape, model))
        result = self._decode(described, escapes, len(escapes), coded, len(coded), values.ctypes.data)
        if result == NO_MEMORY:
            raise CodecError(f"no memory to decode features of shape {shape}; use a smaller batch or input")
        return values if result == 0 else None


def _described(shape: Tuple[int, ...], model: EntropyModel) -> _Model:
    pointers = (getattr(model, name).ctypes.data for name in FIELDS)
    return _Model(*shape, len(model.radius), *pointers)


@functools.lru_cache(maxsize=None)
def core() -> Optional[CompiledCore]:
    """The core; None where it was not built or does not load here, and numpy computes the same more slowly."""
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(LIBRARY + suffix)
        if path.is_file():
            try:
                return CompiledCore(ctypes.CDLL(str(path)))
            except (OSError, AttributeError):  # built for another machine, or by another version of the source
                continue
    return None
