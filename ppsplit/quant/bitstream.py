"""Signed integers of 2 to 8 bits to bytes, with no bit wasted but the last byte's.

Code i takes bits i*b .. i*b + b - 1 of the stream, lowest first; bit j of the stream is bit j % 8 of byte j // 8.
(`ppsplit.codec.pack` packs unsigned features on the wire, whose format has its own version.)
"""

from __future__ import annotations

import numpy as np

from ppsplit.errors import WeightsError

PACKED_BITS = (2, 3, 4, 5, 6, 7, 8)
GROUP = 8  # so many codes of b bits fill b bytes


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
    _check_bits(bits)
    groups = -(-codes.size // GROUP)
    padded = np.zeros((groups, GROUP), np.uint64)
    padded.ravel()[: codes.size] = codes.ravel().astype(np.int64) & (2**bits - 1)
    words = np.zeros(groups, np.uint64)
    for place in range(GROUP):
        words |= padded[:, place] << np.uint64(place * bits)
    octets = words.astype("<u8")[:, None].view(np.uint8)[:, :bits]
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
    _check_bits(bits)
    groups = -(-count // GROUP)
    octets = np.zeros((groups, GROUP), np.uint8)
    whole = np.zeros(groups * bits, np.uint8)
    whole[:size] = np.frombuffer(data, np.uint8)
    octets[:, :bits] = whole.reshape(groups, bits)
    words = octets.view("<u8").ravel()
    codes = np.empty((groups, GROUP), np.int8)
    for place in range(GROUP):
        raw = ((words >> np.uint64(place * bits)) & np.uint64(2**bits - 1)).astype(np.int16)
        codes[:, place] = raw - ((raw >> (bits - 1)) << bits)  # two's complement: the highest bit counts negative
    return codes.ravel()[:count]


def _check_bits(bits: int) -> None:
    if bits not in PACKED_BITS:
        raise WeightsError(f"{bits} bits cannot be packed; choose from {', '.join(map(str, PACKED_BITS))}")
