"""The few calls that a pickle of numpy arrays makes, each done here and with its arguments checked."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple

import numpy as np

from ppsplit.errors import UnsafePickleError
from ppsplit.zoo.vocabulary import Name, Vocabulary

DTYPES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


class DTypeToken:
    """A numpy dtype that may still be told its byte order."""

    def __init__(self, code: str) -> None:
        self.code = code


def _empty_array(kind: Any, shape: Any, code: Any) -> np.ndarray:
    """What numpy calls `_reconstruct(ndarray, (0,), b"b")`: an array that gets its contents by BUILD."""
    if not isinstance(kind, Name) or kind.name != "numpy.ndarray" or shape != (0,) or code not in (b"b", "b"):
        raise UnsafePickleError("it rebuilds something other than a numpy array")
    return np.zeros(0, np.int8)


def _dtype(code: Any, align: Any = False, copy: Any = True) -> DTypeToken:
    if type(code) is not str or code not in DTYPES:
        raise UnsafePickleError(f"it asks for the numpy dtype {_shown(code)}")
    return DTypeToken(code)


def set_byte_order(dtype: DTypeToken, state: Tuple[Any, ...]) -> None:
    """The state of a dtype: (version, byte order, subarray, names, fields, size, alignment, flags)."""
    order = state[1]
    if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
        raise UnsafePickleError("it asks for a structured numpy dtype")
    dtype.code = order + dtype.code.lstrip("<>|=")


def set_array(array: np.ndarray, state: Tuple[Any, ...]) -> None:
    """The state of an array: (version, shape, dtype, Fortran order, bytes)."""
    _, shape, dtype, fortran, data = state
    if not isinstance(dtype, DTypeToken) or type(data) is not bytes:
        raise UnsafePickleError("it fills an array with objects")
    if type(shape) is not tuple or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError("an array's shape is no tuple of sizes")
    count = 1
    for size in shape:
        count *= size
    real = np.dtype(dtype.code)
    if count * real.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} has {len(data)} bytes instead of {count * real.itemsize}")
    # the array itself is filled, not a new one: the file may refer to it again by its memo number
    array.__setstate__((1, shape, real, bool(fortran), data))


def _latin1(text: Any, encoding: Any = "latin1") -> bytes:
    """How protocol 2 writes bytes: `_codecs.encode(text, "latin1")`."""
    if type(text) is not str or encoding != "latin1":
        raise UnsafePickleError(f"it encodes with {_shown(encoding)}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How protocol 2 writes empty bytes: `bytes()`."""
    return b""


def _tuple(items: Any = ()) -> Tuple[Any, ...]:
    """`tuple(items)`: how paddle.save writes (name, array) for a single tensor."""
    if type(items) not in (tuple, list):
        raise UnsafePickleError(f"it makes a tuple of a {type(items).__name__}")
    return tuple(items)


def _ordered_dict(pairs: Any = ()) -> Dict[Any, Any]:
    if type(pairs) not in (tuple, list):
        raise UnsafePickleError(f"it makes a dict of a {type(pairs).__name__}")
    return checked_dict([part for key, value in pairs for part in (key, value)])


def checked_dict(values: List[Any]) -> Dict[Any, Any]:
    """key, value, key, value, ... as a dict. Keys are plain: the hash of a deeply nested tuple overflows C's stack."""
    if len(values) % 2 or any(type(key) not in (str, int, bytes, bool, type(None)) for key in values[::2]):
        raise ValueError("a dict's keys are not plain")
    return dict(zip(values[::2], values[1::2]))


def _shown(value: Any) -> str:
    return repr(value[:40]) if type(value) is str else f"a {type(value).__name__}"


# all that may be called, by the name in the file
CALLS: Dict[str, Callable[..., Any]] = {
    "numpy.core.multiarray._reconstruct": _empty_array,
    "numpy._core.multiarray._reconstruct": _empty_array,  # numpy 2
    "numpy.dtype": _dtype,
    "_codecs.encode": _latin1,
    "builtins.bytes": _no_bytes,
    "builtins.tuple": _tuple,
    "__builtin__.bytes": _no_bytes,  # Python 2's names, which protocol 2 keeps
    "__builtin__.tuple": _tuple,
    "collections.OrderedDict": _ordered_dict,
}
ARRAYS = Vocabulary(CALLS, ("numpy.ndarray",))
