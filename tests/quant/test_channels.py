"""Bits per channel against brute force, and moments that survive rounding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from ppsplit.errors import QuantizationError
from ppsplit.quant.channels import bias_corrected, channel_bits, optimal_levels
from ppsplit.quant.uniform import for_weights, sqnr_db

CLIPS = st.lists(st.floats(0, 100), min_size=1, max_size=5).filter(lambda clips: max(clips) > 1e-3)


def error(clips: np.ndarray, levels: np.ndarray) -> float:
    return float((np.asarray(clips) ** 2 / (3 * np.asarray(levels, float) ** 2)).sum())


def test_levels_are_the_minimum_under_the_budget() -> None:
    clips = np.array([0.2, 1.0, 5.0, 0.7])
    found = optimal_levels(clips, 64)
    assert found.sum() == pytest.approx(64)
    assert found / found[1] == pytest.approx(clips ** (2 / 3))
    least = optimize.minimize(
        lambda levels: error(clips, levels),
        np.full(4, 16.0),
        bounds=[(0.5, 64)] * 4,
        constraints={"type": "eq", "fun": lambda levels: levels.sum() - 64},
    )
    assert error(clips, found) <= least.fun * (1 + 1e-6)


@settings(max_examples=60, deadline=None)
@given(CLIPS, st.integers(2, 6))
def test_bits_stay_within_the_budget_and_near_brute_force(values: list, mean_bits: int) -> None:
    clips = np.array(values)
    bits = channel_bits(clips, mean_bits)
    assert (2**bits).sum() <= clips.size * 2**mean_bits and bits.mean() <= mean_bits
    assert bits.min() >= 2 and bits.max() <= 8
    assert error(clips, 2**bits) <= error(clips, np.full(clips.size, 2**mean_bits)) * (1 + 1e-9)
    plans = (np.array(plan) for plan in itertools.product(range(2, 9), repeat=min(clips.size, 4)))
    if clips.size <= 4:
        best = min(error(clips, 2**plan) for plan in plans if (2**plan).sum() <= clips.size * 2**mean_bits)
        assert error(clips, 2**bits) <= 4 * best + 1e-12  # a whole bit is a factor of four


def test_equal_channels_get_equal_bits() -> None:
    assert channel_bits(np.full(7, 0.3), 4).tolist() == [4] * 7


@pytest.mark.parametrize("clips", [[], [0.0, 0.0], [-1.0, 1.0], [np.nan, 1.0]])
def test_ranges_must_be_ranges(clips: list) -> None:
    with pytest.raises(QuantizationError, match="ranges"):
        optimal_levels(np.array(clips), 16)


def test_a_mean_that_no_channel_may_have_is_refused() -> None:
    with pytest.raises(QuantizationError, match="2 to 8"):
        channel_bits(np.ones(3), 9)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_mean_and_variance_survive(bits: int) -> None:
    weights = np.random.default_rng(bits).laplace(0.01, 0.1, size=(6, 8, 3, 3)).astype(np.float32)
    codes, scale, offset = bias_corrected(weights, bits)
    shape = (-1, 1, 1, 1)
    corrected = codes.astype(np.float32) * scale.reshape(shape) + offset.reshape(shape)
    plain = for_weights(weights, bits).fake(weights)
    for moment in (np.mean, np.var):
        wanted = moment(weights, axis=(1, 2, 3))
        np.testing.assert_allclose(moment(corrected, axis=(1, 2, 3)), wanted, rtol=1e-3, atol=1e-6)
        assert bits > 4 or not np.allclose(moment(plain, axis=(1, 2, 3)), wanted, rtol=1e-3, atol=1e-6)
    assert sqnr_db(weights, corrected) > sqnr_db(weights, plain) - 4


def test_channels_without_variance_keep_their_mean() -> None:
    weights = np.float32([[0, 0, 0], [2, 2, 2], [1, 0, -1]])
    codes, scale, offset = bias_corrected(weights, 4)
    np.testing.assert_allclose(codes * scale[:, None] + offset[:, None], weights, atol=1e-6)
    assert np.isfinite(scale).all() and np.isfinite(offset).all()
