"""Bytes to fewer bytes with zstandard, and back without ever making more than was announced.

The first byte says how the rest is kept: 0 as it is, 1 as one zstandard frame that states its content size.
What does not get smaller is kept as it is, so the worst case is one byte more.
"""

from __future__ import annotations

import zstandard

from ppsplit.errors import CodecError

STORED, ZSTANDARD = 0, 1


def compress(data: bytes, level: int) -> bytes:
    """`data` with its leading tag byte. `level` is zstandard's: 1 (fast) to 22 (small)."""
    frame = zstandard.ZstdCompressor(level=level, write_content_size=True).compress(data)
    if len(frame) < len(data):
        return bytes([ZSTANDARD]) + frame
    return bytes([STORED]) + data


def decompress(data: bytes, size: int) -> bytes:
    """Inverse of `compress`.

    Args:
        size: how many bytes must come out; nothing is allocated before the frame's own claim equals it.

    Raises:
        CodecError: the tag is unknown, the frame is damaged, or its content is not `size` bytes.
    """
    if not data:
        raise CodecError("no tensor data; expected a tag byte and content")
    tag, content = data[0], data[1:]
    if tag == STORED:
        if len(content) != size:
            raise CodecError(f"expected {size} bytes of tensor data, got {len(content)}")
        return content
    if tag != ZSTANDARD:
        raise CodecError(f"unknown compression tag {tag}; known: {STORED} (stored), {ZSTANDARD} (zstandard)")
    try:
        # python-zstandard believes a frame's own claim over max_output_size, so the claim is checked first
        claimed = zstandard.frame_content_size(content)
        if claimed != size:
            raise CodecError(f"the compressed data claims {claimed} bytes where the tensor's shape means {size}")
        inflated = zstandard.ZstdDecompressor().decompress(content, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CodecError(f"the compressed data is damaged: {error}") from error
    if len(inflated) != size:
        raise CodecError(f"the compressed data holds {len(inflated)} bytes where the tensor's shape means {size}")
    return inflated
