"""Numbers in groups of 7 bits, lowest first; all bytes but the last have their highest bit set."""

from __future__ import annotations

from typing import Tuple

from ppsplit.errors import CodecError

DAMAGED = "the coded features are damaged, or were made with other tables; send them again from the same bundle"


def leb128(number: int) -> bytes:
    """A number from 0 as bytes."""
    groups = []
    while number >= 128:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])


def read_leb128(data: bytes, at: int, most_bytes: int = 5) -> Tuple[int, int]:
    """An LEB128 number and where it ends. Raises CodecError."""
    number = 0
    for used, byte in enumerate(data[at : at + most_bytes]):
        number |= (byte & 127) << 7 * used
        if byte < 128:
            return number, at + used + 1
    raise CodecError(DAMAGED)
