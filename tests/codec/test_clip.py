"""Calibration finds ranges that cost less than the obvious ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ppsplit.bundle import Clip
from ppsplit.codec import calibrate_clip
from ppsplit.codec.quantize import mean_squared_error
from ppsplit.errors import CodecError

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=40_000).astype(np.float32)
SHAPES = {
    "normal": NORMAL,
    "relu": np.maximum(NORMAL, 0),
    "leaky": np.where(NORMAL > 0, NORMAL, 0.1 * NORMAL),
    "heavy tails": RNG.standard_t(2, 40_000).astype(np.float32),
    "one outlier": np.append(NORMAL, np.float32(1000)),
    "negative": -np.maximum(NORMAL, 0),
    "far from zero": NORMAL + 50,
}


def full_range(x: np.ndarray) -> Clip:
    return Clip(float(x.min()), float(x.max()))


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_range_of_a_dense_grid_is_much_better(shape: str, bits: int) -> None:
    x = SHAPES[shape]
    found = mean_squared_error(x, calibrate_clip(x, bits), bits)
    assert found <= mean_squared_error(x, full_range(x), bits)
    thinned = x[::4] if shape != "one outlier" else x[-10_000:]
    lows, highs = (np.unique(np.quantile(x, q)) for q in (np.linspace(0, 0.2, 12), np.linspace(0.8, 1, 12)))
    best = min(
        (Clip(float(a), float(b)) for a in lows for b in highs), key=lambda c: mean_squared_error(thinned, c, bits)
    )
    assert found <= 1.05 * mean_squared_error(x, best, bits)


def test_four_bits_gain_by_clipping() -> None:
    x = SHAPES["heavy tails"]
    assert mean_squared_error(x, calibrate_clip(x, 4), 4) < 0.2 * mean_squared_error(x, full_range(x), 4)


def test_the_two_ends_go_their_own_ways() -> None:
    assert calibrate_clip(SHAPES["relu"], 4).low == 0
    leaky = calibrate_clip(SHAPES["leaky"], 4)
    assert -0.5 < leaky.low < 0 < 5 * -leaky.low < leaky.high


@pytest.mark.parametrize("value", [0.0, -2.5, 1e30])
def test_a_constant_is_its_own_range(value: float) -> None:
    clip = calibrate_clip(np.full(100, value, np.float32), 4)
    assert clip.low == clip.high == np.float32(value)


def test_it_is_deterministic_whatever_the_order() -> None:
    x = SHAPES["leaky"]
    assert calibrate_clip(x.reshape(200, 200), 4) == calibrate_clip(x[::-1], 4)


@settings(max_examples=25, deadline=None)
@given(
    hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(-1e6, 1e6, width=32)),
    st.sampled_from([8, 4]),
)
def test_never_worse_than_minimum_to_maximum(x: np.ndarray, bits: int) -> None:
    clip = calibrate_clip(x, bits)
    assert x.min() <= clip.low <= clip.high <= x.max()
    assert mean_squared_error(x, clip, bits) <= mean_squared_error(x, full_range(x), bits)


@pytest.mark.parametrize("samples", [[], [np.nan], [1.0, np.inf]])
def test_samples_must_be_finite_and_some(samples) -> None:
    with pytest.raises(CodecError, match="samples"):
        calibrate_clip(np.array(samples, np.float32), 8)


def test_other_bits_are_refused() -> None:
    with pytest.raises(CodecError, match="8 or 4"):
        calibrate_clip(NORMAL, 6)
