"""Signed integers of 2, 4, 6 or 8 bits to bytes, with no bit wasted but the last byte's.

Code i takes bits i*b .. i*b + b - 1 of the stream, lowest first; bit j of the stream is bit j % 8 of byte j // 8.
(`ppsplit.codec.pack` packs unsigned features on the wire, whose format has its own version.)
"""

from __future__ import annotations

import math
from typing import Tuple

import numpy as np

from ppsplit.errors import WeightsError

PACKED_BITS = (2, 4, 6, 8)


def packed_bytes(count: int, bits: int) -> int:
    """Bytes that `count` codes take."""
    return (count * bits + 7) // 8


def pack_codes(codes: np.ndarray, bits: int) -> bytes:
    """Integers of any shape, in C order, to `packed_bytes`. Raises WeightsError for codes that `bits` do not hold."""
    codes = np.asarray(codes)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    if not np.issubdtype(codes.dtype, np.integer):
        raise WeightsError(f"codes are integers, not {codes.dtype}")
    if codes.size and not low <= int(codes.min()) <= int(codes.max()) <= high:
        raise WeightsError(f"{bits}-bit codes lie in {low}..{high}, got {codes.min()}..{codes.max()}")
    per_group, group_bytes = _group(bits)
    groups = -(-codes.size // per_group)
    padded = np.zeros((groups, per_group), np.uint32)
    padded.ravel()[: codes.size] = codes.ravel().astype(np.int64) & (2**bits - 1)
    words = np.zeros(groups, np.uint32)
    for place in range(per_group):
        words |= padded[:, place] << np.uint32(place * bits)
    octets = words.astype("<u4")[:, None].view(np.uint8)[:, :group_bytes]
    return octets.tobytes()[: packed_bytes(codes.size, bits)]


def unpack_codes(data: bytes, count: int, bits: int) -> np.ndarray:
    """Inverse of `pack_codes`: int8 [count].

    Raises:
        WeightsError: `data` is not `packed_bytes(count, bits)` long, or a bit behind the last code is not 0.
    """
    size = packed_bytes(count, bits)
    if len(data) != size:
        raise WeightsError(f"{count} codes of {bits} bits take {size} bytes, got {len(data)}")
    unused = size * 8 - count * bits
    if unused and data[-1] >> (8 - unused):
        raise WeightsError("the unused bits of a last byte must be 0")
    per_group, group_bytes = _group(bits)
    groups = -(-count // per_group)
    octets = np.zeros((groups, 4), np.uint8)
    whole = np.zeros(groups * group_bytes, np.uint8)
    whole[:size] = np.frombuffer(data, np.uint8)
    octets[:, :group_bytes] = whole.reshape(groups, group_bytes)
    words = octets.view("<u4").ravel()
    codes = np.empty((groups, per_group), np.int8)
    for place in range(per_group):
        raw = ((words >> np.uint32(place * bits)) & np.uint32(2**bits - 1)).astype(np.int16)
        codes[:, place] = raw - ((raw >> (bits - 1)) << bits)  # two's complement: the highest bit counts negative
    return codes.ravel()[:count]


def _group(bits: int) -> Tuple[int, int]:
    """Codes that fill whole bytes, and those bytes: 4, 2 or 1 codes in 1 byte, and four of 6 bits in 3."""
    if bits not in PACKED_BITS:
        raise WeightsError(f"{bits} bits cannot be packed; choose from {', '.join(map(str, PACKED_BITS))}")
    group_bytes = bits // math.gcd(bits, 8)
    return group_bytes * 8 // bits, group_bytes
