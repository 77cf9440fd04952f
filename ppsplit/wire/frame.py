"""The frame around a message: magic, version, checksum, length, and a msgpack body read with limits.

FORMAT.md sections 2 and 3.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Dict, List, Tuple

import msgpack

from ppsplit.errors import WireError

MAGIC = b"PPSF"
VERSION = 1
# magic, version, flags, reserved, CRC-32 of the body, length of the body
HEADER = struct.Struct("<4sBBHII")
HEADER_BYTES = HEADER.size

FEATURES_TYPE = "application/x-ppsplit-features"
TENSORS_TYPE = "application/x-ppsplit-tensors"

MAX_STRING_BYTES = 512
MAX_ARRAY_ITEMS = 256
MAX_MAP_ITEMS = 64
MAX_CONTAINERS = 2048


def pack_frame(body: Dict[str, Any]) -> bytes:
    """Header and msgpack of `body`. Raises WireError for what msgpack or the header cannot hold."""
    try:
        content: bytes = msgpack.packb(body, use_bin_type=True)
        header = HEADER.pack(MAGIC, VERSION, 0, 0, zlib.crc32(content), len(content))
    except (ValueError, TypeError, OverflowError, struct.error) as error:
        raise WireError(f"the message cannot be written ({error}); a frame holds at most 4 GiB") from error
    return header + content


def unpack_frame(data: bytes) -> Dict[str, Any]:
    """The body of a frame.

    Raises:
        WireError: not a frame, another version, damaged on the way, or outside the format's limits.
    """
    content = _checked_content(data)
    budget = _Budget()
    try:
        body = msgpack.unpackb(
            content,
            raw=False,
            strict_map_key=True,
            object_pairs_hook=budget.mapping,
            list_hook=budget.array,
            max_str_len=MAX_STRING_BYTES,
            max_array_len=MAX_ARRAY_ITEMS,
            max_map_len=MAX_MAP_ITEMS,
            max_ext_len=0,
        )
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise WireError(f"the frame's body is not the msgpack this format allows ({error})") from error
    if not isinstance(body, dict):
        raise WireError(f"the frame's body is a {type(body).__name__}, expected a map")
    return body


def _checked_content(data: bytes) -> bytes:
    if len(data) < HEADER_BYTES or data[:4] != MAGIC:
        raise WireError(f"not a ppsplit frame ({len(data)} bytes); it starts with {MAGIC!r} and a header of 16 bytes")
    _, version, flags, reserved, crc, length = HEADER.unpack_from(data)
    if version != VERSION:
        raise WireError(f"the frame has version {version}, this ppsplit reads {VERSION}; use the same on both halves")
    if flags or reserved:
        raise WireError(f"flags and reserved bytes must be 0 in version {VERSION}, got {flags} and {reserved}")
    content = data[HEADER_BYTES:]
    if len(content) != length:
        raise WireError(f"the frame announces a body of {length} bytes and has {len(content)}; send it again")
    if zlib.crc32(content) != crc:
        raise WireError("the frame's checksum is wrong; it was damaged on the way, send it again")
    return content


class _Budget:
    """Counts containers while msgpack builds them: a byte of input must not become a dict of memory each."""

    def __init__(self) -> None:
        self._left = MAX_CONTAINERS

    def _spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"more than {MAX_CONTAINERS} maps and arrays")

    def mapping(self, pairs: List[Tuple[Any, Any]]) -> Dict[Any, Any]:
        """A map, refused when a key is no text, or comes twice: two readers could take different ones."""
        self._spend()
        if any(type(key) is not str for key, _ in pairs):  # strict_map_key lets bytes pass
            raise ValueError("a map has a key that is not text")
        values = dict(pairs)
        if len(values) != len(pairs):
            raise ValueError("a map has the same key twice")
        return values

    def array(self, items: List[Any]) -> List[Any]:
        """An array, counted."""
        self._spend()
        return items
