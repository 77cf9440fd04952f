"""The quantizer's promises: half a step inside the range, saturation outside, no code for NaN."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppsplit.bundle import Clip
from ppsplit.codec.quantize import dequantize, levels, mean_squared_error, quantize, step_of
from ppsplit.errors import CodecError

ENDS = st.floats(-1e4, 1e4, width=32)


@given(st.lists(ENDS, min_size=1, max_size=50), ENDS, ENDS, st.sampled_from([8, 4]))
def test_error_is_half_a_step_inside_and_saturation_outside(values, first, second, bits) -> None:
    clip = Clip(min(first, second), max(first, second))
    x = np.array(values, np.float32)
    codes = quantize(x, clip, bits)
    assert codes.dtype == np.uint8
    assert codes.max() <= levels(bits)
    restored = dequantize(codes, clip, bits)
    target = np.clip(x.astype(np.float64), clip.low, clip.high)
    rounding = 1e-5 * max(abs(clip.low), abs(clip.high), 1e-30)
    assert (np.abs(restored - target) <= step_of(clip, bits) / 2 + rounding).all()


@pytest.mark.parametrize("bits", [8, 4])
def test_ends_are_exact_and_halves_go_to_even(bits: int) -> None:
    top = levels(bits)
    clip = Clip(0.0, float(top))
    x = np.array([-9, 0, 0.5, 1.5, 2.5, top, top + 9], np.float32)
    assert quantize(x, clip, bits).tolist() == [0, 0, 0, 2, 2, top, top]


def test_a_range_without_width_gives_its_value_back() -> None:
    x = np.full((2, 3), -1.5, np.float32)
    clip = Clip(-1.5, -1.5)
    np.testing.assert_array_equal(dequantize(quantize(x, clip, 8), clip, 8), x)


def test_a_range_as_wide_as_float32_neither_overflows_nor_warns() -> None:
    big = float(np.finfo(np.float32).max)
    with np.errstate(all="raise", over="warn"):
        assert quantize(np.array([-big, 0, big], np.float32), Clip(-big / 4, big), 8)[[0, 2]].tolist() == [0, 255]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_has_no_code(value: float) -> None:
    with pytest.raises(CodecError, match="NaN or infinite"):
        quantize(np.array([0, value], np.float32), Clip(0, 1), 8)


@pytest.mark.parametrize("ends", [(1.0, 0.0), (np.nan, 1.0), (0.0, np.inf), (-1e39, 0.0)])
def test_a_range_that_is_none_is_refused(ends) -> None:
    for function in (quantize, dequantize):
        with pytest.raises(CodecError, match="clip range"):
            function(np.zeros(3, np.float32), Clip(*ends), 8)


def test_the_input_is_left_alone() -> None:
    x = np.linspace(-1, 2, 7, dtype=np.float32)
    before = x.copy()
    quantize(x, Clip(0, 1), 4)
    mean_squared_error(x, Clip(0, 1), 4)
    np.testing.assert_array_equal(x, before)
