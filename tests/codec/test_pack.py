"""Packing loses nothing, wastes nothing, and has one form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppsplit.codec.pack import pack, packed_size, unpack
from ppsplit.errors import CodecError


@given(st.sampled_from([8, 4]).flatmap(lambda b: st.tuples(st.just(b), st.lists(st.integers(0, 2**b - 1)))))
def test_round_trip(case) -> None:
    bits, codes = case
    data = pack(np.array(codes, np.uint8), bits)
    assert len(data) == packed_size(len(codes), bits) == -(-len(codes) * bits // 8)
    assert unpack(data, len(codes), bits).tolist() == codes


@pytest.mark.parametrize(
    ("codes", "packed"), [([], ""), ([0xA], "0a"), ([1, 2], "21"), ([0xF, 0, 0xC], "0f0c"), ([1, 2, 3, 4], "2143")]
)
def test_nibbles_lie_as_the_format_says(codes, packed: str) -> None:
    assert pack(np.array(codes, np.uint8), 4).hex() == packed


def test_shape_does_not_matter_but_order_does() -> None:
    codes = np.arange(15, dtype=np.uint8).reshape(3, 5)
    assert unpack(pack(codes.T, 4), 15, 4).tolist() == codes.T.ravel().tolist()


@pytest.mark.parametrize(
    ("data", "count", "bits"),
    [(b"", 1, 8), (b"\0", 0, 4), (b"\0\0", 5, 4), (b"\0" * 4, 5, 4), (b"\0", 2, 8), (b"\x10", 1, 4), (b"\0", 1, 5)],
)
def test_what_does_not_fit_is_refused(data: bytes, count: int, bits: int) -> None:
    with pytest.raises(CodecError):
        unpack(data, count, bits)


def test_a_code_of_five_bits_is_refused() -> None:
    with pytest.raises(CodecError, match="at most 15"):
        pack(np.array([3, 16], np.uint8), 4)
