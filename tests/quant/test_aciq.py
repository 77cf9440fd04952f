"""ACIQ: the paper's numbers, the minimum of the integral it approximates, and the best clip value on samples."""

from __future__ import annotations

import math
from typing import Callable

import numpy as np
import pytest
from scipy import integrate, optimize, special

from ppsplit.errors import CalibrationError, QuantizationError
from ppsplit.quant.aciq import (
    GAUSSIAN,
    LAPLACE,
    activation_clip,
    channel_clips,
    clipping_error,
    fit,
    optimal_ratio,
    rounding_error,
)
from ppsplit.quant.uniform import one_sided, signed_grid, symmetric, unsigned_grid

RNG = np.random.default_rng(0)
SAMPLES = {LAPLACE: RNG.laplace(size=100_000), GAUSSIAN: RNG.normal(size=100_000)}
DENSITY: dict = {
    LAPLACE: lambda x: 0.5 * math.exp(-abs(x)),
    GAUSSIAN: lambda x: math.exp(-x * x / 2) / math.sqrt(2 * math.pi),
}


@pytest.mark.parametrize(
    ("distribution", "published"),
    [(LAPLACE, [1.86, 2.83, 3.89, 5.03, 6.20, 7.41, 8.64, 9.89]), (GAUSSIAN, [1.24, 1.71, 2.15, 2.55, 2.93, 3.28])],
)
def test_the_published_values(distribution: str, published: list) -> None:
    """Two-sided at 1, 2, 3 ... bits; the paper prints 2, 3 and 4 bits, its code the others."""
    found = [optimal_ratio(distribution, 2**bits) for bits in range(1, len(published) + 1)]
    assert found == pytest.approx(published, abs=0.011)


@pytest.mark.parametrize("intervals", [1, 2, 14, 254, 2**16])
def test_laplace_has_a_closed_form(intervals: int) -> None:
    """The equation r e^r = 3 n^2 is solved by Lambert's W."""
    assert optimal_ratio(LAPLACE, intervals) == pytest.approx(special.lambertw(3 * intervals**2).real, rel=1e-12)


@pytest.mark.parametrize("distribution", [LAPLACE, GAUSSIAN])
@pytest.mark.parametrize("ratio", [0.0, 0.5, 2.0, 6.0, 12.0])
def test_the_clipping_error_is_the_integral(distribution: str, ratio: float) -> None:
    density: Callable[[float], float] = DENSITY[distribution]
    integral = 2 * integrate.quad(lambda x: (x - ratio) ** 2 * density(x), ratio, ratio + 60, epsabs=0)[0]
    assert clipping_error(distribution, ratio) == pytest.approx(integral, rel=1e-6, abs=1e-15)


@pytest.mark.parametrize("distribution", [LAPLACE, GAUSSIAN])
@pytest.mark.parametrize("intervals", [2, 4, 16, 254])
def test_no_other_ratio_costs_less(distribution: str, intervals: int) -> None:
    def cost(ratio: float) -> float:
        return clipping_error(distribution, ratio) + rounding_error(ratio, intervals)

    found = optimal_ratio(distribution, intervals)
    least = optimize.minimize_scalar(cost, bounds=(0, 30), method="bounded", options={"xatol": 1e-9})
    assert found == pytest.approx(least.x, abs=1e-5)
    assert cost(found) <= cost(least.x) * (1 + 1e-12)


@pytest.mark.parametrize("distribution", [LAPLACE, GAUSSIAN])
@pytest.mark.parametrize(("bits", "slack"), [(3, 1.12), (4, 1.05), (6, 1.05), (8, 1.05)])
def test_the_best_clip_on_samples_is_hardly_better(distribution: str, bits: int, slack: float) -> None:
    values = 0.3 * SAMPLES[distribution]
    for grid, make, seen in (
        (signed_grid(bits), symmetric, values),
        (unsigned_grid(bits), one_sided, np.maximum(values, 0)),
    ):

        def cost(clip: float, make=make, seen=seen) -> float:
            return float(np.square(make(clip, bits).fake(seen) - seen).mean())

        largest = float(np.abs(seen).max())
        found = activation_clip(seen, grid.intervals, make is one_sided)
        brute_force = min(cost(clip) for clip in np.linspace(0.02, 1, 60) * largest)
        assert cost(found) <= slack * brute_force
        if bits <= 4:
            assert cost(found) < 0.8 * cost(largest)


@pytest.mark.parametrize("distribution", [LAPLACE, GAUSSIAN])
@pytest.mark.parametrize("is_one_sided", [False, True])
def test_the_density_is_told_by_its_samples(distribution: str, is_one_sided: bool) -> None:
    values = 2.5e-3 * SAMPLES[distribution]
    found = fit(np.maximum(values, 0) if is_one_sided else values, is_one_sided)
    assert (found.distribution, found.one_sided) == (distribution, is_one_sided)
    assert found.spread == pytest.approx(2.5e-3, rel=0.02)


@pytest.mark.parametrize("bits", [2, 4])
def test_one_side_is_worth_a_bit(bits: int) -> None:
    values = np.abs(SAMPLES[LAPLACE])
    assert fit(values, True).clip(2**bits) == pytest.approx(fit(values, False).clip(2 ** (bits + 1)))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_very_small_and_very_large_values_fit_as_well(scale: float) -> None:
    assert fit(scale * SAMPLES[GAUSSIAN][:1000], False).spread == pytest.approx(scale, rel=0.1)


def test_a_clip_value_lies_within_the_samples() -> None:
    assert activation_clip(np.array([-1.0, 1.0, 0.5]), 254, False) == 1.0


def test_each_channel_has_its_own_clip() -> None:
    values = SAMPLES[LAPLACE][:40_000].reshape(2, 4, 5000) * np.array([1, 2, 0, 0.5])[:, None]
    values[:, 3] = 7.0
    clips = channel_clips(values, 14, False)
    for channel in (0, 1):
        assert clips[channel] == activation_clip(values[:, channel], 14, False)
    assert clips[2] == clips.max() and clips[3] == 7.0


@pytest.mark.parametrize("values", [[], [np.nan, 1], [np.inf, 1], [0, 0], [3.0, 3.0]])
def test_samples_that_say_nothing_are_refused(values: list) -> None:
    with pytest.raises(CalibrationError, match="calibration saw"):
        activation_clip(np.array(values, np.float32), 254, False)
    with pytest.raises(CalibrationError, match="calibration saw"):
        channel_clips(np.array(values, np.float32).reshape(1, 1, -1), 254, False)


def test_negative_values_do_not_come_from_a_relu() -> None:
    with pytest.raises(CalibrationError, match="two-sided"):
        fit(np.array([-1.0, 2.0]), True)


def test_unknown_densities_and_no_steps_are_refused() -> None:
    with pytest.raises(QuantizationError, match="laplace, gaussian"):
        optimal_ratio("cauchy", 16)
    with pytest.raises(QuantizationError, match="at least 1"):
        optimal_ratio(LAPLACE, 0)
