"""Grids: every code and every value is where the table of the module says, and nothing has a scale of zero."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ppsplit.errors import QuantizationError
from ppsplit.quant.uniform import Grid, affine, for_weights, one_sided, signed_grid, sqnr_db, symmetric, unsigned_grid

FLOATS = st.floats(-1e4, 1e4, width=32)


@pytest.mark.parametrize(("bits", "low", "high"), [(2, -1, 1), (4, -7, 7), (8, -127, 127), (16, -32767, 32767)])
def test_the_signed_grid_is_symmetric(bits: int, low: int, high: int) -> None:
    assert signed_grid(bits) == Grid(low, high)
    assert signed_grid(bits).intervals == 2**bits - 2


@pytest.mark.parametrize(("bits", "high"), [(2, 3), (4, 15), (8, 255)])
def test_the_unsigned_grid_starts_at_zero(bits: int, high: int) -> None:
    assert unsigned_grid(bits) == Grid(0, high)


@pytest.mark.parametrize("bits", [-1, 0, 1, 17])
def test_other_bits_are_refused(bits: int) -> None:
    with pytest.raises(QuantizationError, match="2 to 16"):
        signed_grid(bits)


def test_codes_and_values_by_hand() -> None:
    quantizer = symmetric(3.5, 4)  # a step is 0.5
    values = np.float32([-9, -3.5, -0.25, 0, 0.25, 0.26, 0.75, 3.4, 9])
    assert quantizer.encode(values).tolist() == [-7, -7, 0, 0, 0, 1, 2, 7, 7]  # ties go to even
    assert quantizer.fake(values).tolist() == [-3.5, -3.5, 0, 0, 0, 0.5, 1, 3.5, 3.5]
    assert one_sided(7.5, 4).encode(np.float32([-1, 0, 7.4, 8])).tolist() == [0, 0, 15, 15]
    assert affine(-0.5, 7.0, 4).encode(np.float32([-1, -0.5, 0, 7])).tolist() == [0, 0, 1, 15]


@pytest.mark.parametrize("values", [np.zeros(0, np.float32), np.zeros((2, 0, 3), np.float32)])
def test_nothing_becomes_nothing(values: np.ndarray) -> None:
    assert symmetric(1.0, 8).fake(values).shape == values.shape


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.float32, st.integers(1, 40), elements=FLOATS), st.integers(2, 8))
def test_what_is_inside_the_range_moves_by_half_a_step(values: np.ndarray, bits: int) -> None:
    clip = max(float(np.abs(values).max()), 1e-3)
    for quantizer in (symmetric(clip, bits), affine(-clip, clip, bits)):
        # the affine grid is shifted by up to half a step to hold 0, so an end may lie that much outside
        steps = 0.5 if quantizer.zero_point == 0 else 1.0
        step = float(quantizer.scale)
        assert (np.abs(quantizer.fake(values) - values) <= steps * step * (1 + 1e-5) + 1e-6 * clip).all()
        assert (quantizer.fake(quantizer.fake(values)) == quantizer.fake(values)).all()
        assert quantizer.fake(np.zeros(1)) == 0


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_each_channel_has_its_own_scale(axis: int) -> None:
    weights = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    quantizer = for_weights(weights, 8, axis)
    moved, expected = np.moveaxis(weights, axis, 0), np.moveaxis(quantizer.fake(weights), axis, 0)
    for channel, fake in zip(moved, expected):
        alone = for_weights(channel, 8, None)
        np.testing.assert_array_equal(alone.fake(channel), fake)
        assert np.abs(alone.encode(channel)).max() == 127


def test_a_dead_channel_does_not_divide_by_zero() -> None:
    weights = np.zeros((2, 3), np.float32)
    weights[1] = [1, -2, 0]
    quantizer = for_weights(weights, 4)
    assert quantizer.scale[0] == 1 and quantizer.scale[1] == np.float32(2 / 7)
    np.testing.assert_array_equal(quantizer.fake(weights)[0], 0)
    assert np.isfinite(for_weights(np.full((1, 2), 1e-44, np.float32), 8).fake(np.ones((1, 2)))).all()


@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan"), float("inf"), 1e-44])
def test_a_scale_of_zero_is_refused(clip: float) -> None:
    for make in (symmetric, one_sided):
        with pytest.raises(QuantizationError, match="constant"):
            make(clip, 8)
    with pytest.raises(QuantizationError):
        affine(0.0, min(clip, 0.0) if clip < 1 else clip, 8)


def test_what_has_no_code_is_refused() -> None:
    with pytest.raises(QuantizationError, match="no code"):
        symmetric(1.0, 8).encode(np.float32([1, np.nan]))
    with pytest.raises(QuantizationError, match="empty"):
        for_weights(np.zeros((0, 3)), 8)
    with pytest.raises(QuantizationError, match="3 channels on axis 0"):
        symmetric(np.ones(3), 8, 0).encode(np.ones((2, 3)))
    with pytest.raises(QuantizationError, match="one a channel"):
        symmetric(np.ones(3), 8)
    with pytest.raises(QuantizationError, match="down to"):
        affine(2.0, 1.0, 8)


def test_a_bit_is_worth_six_decibels() -> None:
    values = np.random.default_rng(0).uniform(-1, 1, 100_000)
    worth = [sqnr_db(values, symmetric(1.0, bits).fake(values)) for bits in (6, 8, 10)]
    assert worth[1] == pytest.approx(20 * np.log10(2**8 - 2), abs=0.1)
    assert np.diff(worth) == pytest.approx([12.1, 12.1], abs=0.3)
    assert sqnr_db(values, values) == np.inf and sqnr_db(np.zeros(2), np.ones(2)) == -np.inf
