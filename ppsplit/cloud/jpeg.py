"""A JPEG's size from its header, so that a small file cannot make the decoder allocate gigabytes."""

from __future__ import annotations

from typing import Tuple

from ppsplit.errors import ImageError

START, START_OF_SCAN = 0xD8, 0xDA
# baseline, extended and progressive, Huffman-coded: what OpenCV decodes (ITU T.81, table B.1)
FRAMES = (0xC0, 0xC1, 0xC2)


def jpeg_hw(data: bytes) -> Tuple[int, int]:
    """Height and width in pixels.

    Walks the segments in front of the first scan and takes no liberties: where a decoder would skip garbage and
    perhaps find another frame header, this refuses.

    Raises:
        ImageError: not a JPEG, or its header is damaged.
    """
    if data[:2] != bytes([0xFF, START]):
        raise ImageError(f"the body ({len(data)} bytes) is not a JPEG; send one picture as image/jpeg")
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != START_OF_SCAN:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in FRAMES and at + 9 <= len(data):
            return int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
        if length < 2:
            break
        at += 2 + length
    raise ImageError(f"the JPEG's header is damaged at byte {at}; encode the picture again")
