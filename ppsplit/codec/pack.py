"""Codes of 8 or 4 bits to bytes, with no bit wasted but the last nibble's.

4 bits: element 2i is the low nibble of byte i, element 2i + 1 the high one. An odd count leaves the last
high nibble, which is 0; a reader refuses anything else there, so every tensor has exactly one packing.
"""

from __future__ import annotations

import numpy as np

from ppsplit.errors import CodecError

BITS = (8, 4)


def packed_size(count: int, bits: int) -> int:
    """Bytes that `count` codes take."""
    if bits not in BITS:
        raise CodecError(f"codes have 8 or 4 bits, not {bits}")
    return (count * bits + 7) // 8


def pack(codes: np.ndarray, bits: int) -> bytes:
    """uint8 codes of any shape (in C order, each below 2^bits) to `packed_size` bytes. Raises CodecError."""
    size = packed_size(codes.size, bits)
    flat = codes.ravel()
    if bits == 8:
        return flat.tobytes()
    if flat.size and int(flat.max()) > 15:
        raise CodecError(f"a 4-bit code is at most 15, got {int(flat.max())}")
    packed = np.zeros(size, np.uint8)
    packed[:] = flat[0::2]
    packed[: flat.size // 2] |= np.left_shift(flat[1::2], 4, dtype=np.uint8)
    return packed.tobytes()


def unpack(data: bytes, count: int, bits: int) -> np.ndarray:
    """Inverse of `pack`: uint8 [count].

    Raises:
        CodecError: `data` is not `packed_size(count, bits)` bytes, or the unused nibble is not 0.
    """
    size = packed_size(count, bits)
    if len(data) != size:
        raise CodecError(f"{count} codes of {bits} bits take {size} bytes, got {len(data)}")
    packed = np.frombuffer(data, np.uint8)
    if bits == 8:
        return packed
    if count % 2 and packed[-1] >> 4:
        raise CodecError("the unused last nibble must be 0; the sender packs another way")
    codes = np.empty(2 * size, np.uint8)
    codes[0::2] = packed & 0x0F
    codes[1::2] = packed >> 4
    return codes[:count]
