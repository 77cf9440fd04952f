"""The quality that is chosen: with a margin for photos that were not judged on."""

from __future__ import annotations

from typing import List

import numpy as np
import pytest

from ppsplit.bundle import CurvePoint
from ppsplit.calibrate.curve import Measured, busier_half, chosen_quality, upper_mean


def test_the_upper_mean_is_the_normal_one_for_many_values() -> None:
    values = np.random.default_rng(0).exponential(size=2_000)
    assert upper_mean(values) == pytest.approx(values.mean() + 1.2816 * values.std() / 2_000**0.5, rel=0.005)


def test_one_value_has_no_spread() -> None:
    assert upper_mean([0.25]) == 0.25


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [([1.0], [0]), ([0.0, 2.0], [1]), ([3.0, 1.0, 2.0], [0, 2]), ([1.0, 1.0, 1.0, 5.0], [0, 3])],
)
def test_the_half_of_the_photos_with_most_on_them(amounts: List[float], expected: List[int]) -> None:
    assert busier_half(amounts) == expected


class _Judge:
    def __init__(self) -> None:
        self.asked: List[int] = []

    def point(self, tables: object, quality: int) -> Measured:
        self.asked.append(quality)
        kl = 2.0 ** (-quality / 10)
        return Measured(CurvePoint(quality, 10.0 * quality, kl), 1.2 * kl)


@pytest.mark.parametrize("target", [1e-9, 0.01, 0.1, 0.35, 5.0])
def test_the_least_quality_whose_upper_divergence_is_within_the_target(target: float) -> None:
    judge, found = _Judge(), []
    for quality in (20, 50, 80):
        found.append(judge.point(None, quality))
    chosen = chosen_quality(judge, None, found, target)  # type: ignore[arg-type]
    enough = [quality for quality in range(1, 101) if 1.2 * 2.0 ** (-quality / 10) <= target]
    assert chosen == (enough[0] if enough else 100)
    assert len(found) == len(judge.asked) and len(judge.asked) <= 3 + 7
