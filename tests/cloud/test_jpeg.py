"""A JPEG's size, read without decoding it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppsplit.cloud.jpeg import jpeg_hw
from ppsplit.errors import ImageError
from tests.cloud.requests import picture


@pytest.mark.parametrize("hw", [(1, 1), (32, 48), (300, 7)])
@pytest.mark.parametrize("progressive", [0, 1])
def test_it_is_the_size_the_decoder_finds(hw, progressive: int) -> None:
    pixels = np.zeros((*hw, 3), np.uint8)
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])
    assert jpeg_hw(data.tobytes()) == hw


def test_an_exif_segment_is_walked_over() -> None:
    plain = picture()
    exif = b"\xff\xe1" + (2 + 300).to_bytes(2, "big") + b"\xff\xc0" * 150  # looks like frame headers inside
    assert jpeg_hw(plain[:2] + exif + plain[2:]) == (32, 48)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"\xff\xd8",
        b"\xff\xd8\xff\xc0\x00\x11\x08",
        b"\xff\xd8\xff\xe0\x00\x00" + bytes(20),
        b"\xff\xd8\x00\x00\xff\xc0" + bytes(20),
        b"\xff\xd8\xff\xda\x00\x08" + bytes(20),
        b"\x89PNG\r\n\x1a\n" + bytes(20),
    ],
)
def test_damaged_headers_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        jpeg_hw(data)


@given(st.binary(max_size=100))
def test_any_bytes_give_a_size_or_an_image_error(tail: bytes) -> None:
    try:
        jpeg_hw(b"\xff\xd8\xff" + tail)
    except ImageError:
        pass
