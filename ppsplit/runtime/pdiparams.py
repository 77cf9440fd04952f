"""Paddle's file of parameters, `.pdiparams`, from arrays.

All parameters one behind the other, ordered by name, which the file does not hold. For each, little-endian:

    uint32 0          version
    uint64 0          levels of detail, none
    uint32 0          version of the tensor
    int32             bytes of the description
    description       protobuf: field 1 the type's number, field 2 each size
    values            in C order
"""

from __future__ import annotations

import struct
from typing import Dict, Mapping

import numpy as np

from ppsplit.errors import WeightsError

HEADER = struct.Struct("<IQIi")
TYPES: Dict[str, int] = {"bool": 0, "int16": 1, "int32": 2, "int64": 3, "float16": 4, "float32": 5, "int8": 21}
TYPE_FIELD, SIZE_FIELD = b"\x08", b"\x10"


def encode_params(values: Mapping[str, np.ndarray]) -> bytes:
    """The file's bytes. Raises WeightsError for a type that it does not have."""
    return b"".join(_encode(name, values[name]) for name in sorted(values))


def _encode(name: str, array: np.ndarray) -> bytes:
    if str(array.dtype) not in TYPES:
        raise WeightsError(f"{name!r} is {array.dtype}; a file of parameters holds {', '.join(TYPES)}")
    description = TYPE_FIELD + _varint(TYPES[str(array.dtype)])
    description += b"".join(SIZE_FIELD + _varint(size) for size in array.shape)
    return HEADER.pack(0, 0, 0, len(description)) + description + np.ascontiguousarray(array).tobytes()


def _varint(number: int) -> bytes:
    """Seven bits a byte, lowest first; the highest bit says that another follows."""
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*octets, number])
