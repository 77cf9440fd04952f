"""Compression gives back what went in, and never more than was announced."""

from __future__ import annotations

import os
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ppsplit.codec.compress import compress, decompress
from ppsplit.errors import CodecError

BOMB = zstandard.ZstdCompressor(level=19).compress(bytes(200_000_000))
UNSIZED = zstandard.ZstdCompressor(write_content_size=False).compress(b"a" * 1000)


@given(st.binary(max_size=2000), st.sampled_from([1, 3, 19]))
def test_round_trip(data: bytes, level: int) -> None:
    packed = compress(data, level)
    assert len(packed) <= len(data) + 1
    assert decompress(packed, len(data)) == data


def test_what_compresses_is_compressed_and_what_does_not_is_stored() -> None:
    assert compress(bytes(10_000), 3)[0] == 1
    noise = os.urandom(10_000)
    assert compress(noise, 3) == b"\0" + noise


FRAME = zstandard.ZstdCompressor().compress(b"abc" * 100)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"", 0),
        (b"\x02abc", 3),
        (b"\0abc", 4),
        (b"\0abcd", 3),
        (b"\x01", 0),
        (b"\x01abc", 3),
        (b"\x01" + FRAME, 299),
        (b"\x01" + FRAME, 301),
        (b"\x01" + FRAME[:-1], 300),
        (b"\x01" + FRAME + b"\0", 300),
        (b"\x01" + FRAME + FRAME, 600),
        (b"\x01" + UNSIZED, 1000),
        (b"\x01" + BOMB, 1000),
    ],
)
def test_hostile_data_is_refused(data: bytes, size: int) -> None:
    with pytest.raises(CodecError):
        decompress(data, size)


def test_a_bomb_allocates_nothing() -> None:
    lying = bytearray(zstandard.ZstdCompressor().compress(bytes(1 << 20)))
    tracemalloc.start()
    try:
        for data in (BOMB, bytes(lying)):
            with pytest.raises(CodecError, match="claims"):
                decompress(b"\x01" + data, 64)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@given(st.integers(0, 8 * len(FRAME) - 1))
def test_a_flipped_bit_is_an_error_or_the_right_length(position: int) -> None:
    damaged = bytearray(FRAME)
    damaged[position // 8] ^= 1 << position % 8
    try:
        assert len(decompress(b"\x01" + bytes(damaged), 300)) == 300  # the wire's checksum finds what passes here
    except CodecError:
        pass
