"""Where errors matter: energies by brute force, and a guess that finds what was planted."""

from __future__ import annotations

import numpy as np

from ppsplit.calibrate.importance import EXPONENT, energies_of, fit_worth
from ppsplit.codec.importance import LARGEST_WORTH, LEAST_WORTH, ONE, SCALES, scaled_means, worth_of


def test_energies_are_those_of_differences_of_components() -> None:
    """G . dx = g . (inverse dz), so the slope by each component is a column's."""
    rng = np.random.default_rng(0)
    inverse, gradient = rng.standard_normal((4, 4)), rng.standard_normal((4, 2, 3)).astype(np.float32)
    (found,) = energies_of([gradient], inverse)
    for row, column in np.ndindex(2, 3):
        slopes = [gradient[:, row, column] @ inverse[:, k] for k in range(4)]
        np.testing.assert_allclose(found[row, column], np.square(slopes).sum(), rtol=1e-4)


def test_scaled_means_by_brute_force() -> None:
    maps = np.random.default_rng(1).standard_normal((2, 5, 4)).astype(np.float32)
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)), mode="edge")
    expected = [[[padded[f, y : y + 3, x : x + 3].mean() for x in range(4)] for y in range(5)] for f in range(2)]
    np.testing.assert_array_equal(scaled_means(maps, 0), maps)
    np.testing.assert_allclose(scaled_means(maps, 1), expected, rtol=1e-4, atol=1e-6)
    assert scaled_means(maps[:, :1, :1], 2).shape == (2, 1, 1)
    np.testing.assert_allclose(scaled_means(maps, 3), np.broadcast_to(maps.mean((1, 2))[:, None, None], maps.shape))


def test_a_planted_cause_is_found() -> None:
    """Errors matter exp(component 1) times as much; the guess follows, tempered, and is no guess of component 0."""
    rng = np.random.default_rng(2)
    photos = [rng.standard_normal((3, 12, 12)).astype(np.float32) for _ in range(30)]
    energies = [np.exp(1.5 * photo[1]) * rng.chisquare(2, (12, 12)) for photo in photos]
    weights = fit_worth(photos, energies)
    assert weights.shape == (SCALES, 7) and weights.dtype == np.float32
    logarithms = np.log(worth_of(photos[0], weights) / ONE)
    slope = np.polyfit(photos[0][1].ravel(), logarithms.ravel(), 1)[0]
    assert 0.6 * 1.5 * EXPONENT < slope < 1.4 * 1.5 * EXPONENT
    assert abs(np.polyfit(photos[0][0].ravel(), (logarithms - slope * photos[0][1]).ravel(), 1)[0]) < 0.1


def test_where_nothing_is_to_be_seen_all_is_worth_the_same() -> None:
    photos = [np.random.default_rng(3).standard_normal((2, 6, 6)).astype(np.float32) for _ in range(8)]
    worth = worth_of(photos[0], fit_worth(photos, [np.zeros((6, 6), np.float32)] * 8))
    assert worth.min() == worth.max()


def test_worth_is_bounded_whatever_comes() -> None:
    weights = np.full((SCALES, 3), 1e30, np.float32)
    with np.errstate(all="ignore"):
        for components in (np.full((1, 2, 2), 1e30, np.float32), np.full((1, 2, 2), -1e30, np.float32)):
            worth = worth_of(components, weights)
            assert worth.min() >= ONE * LEAST_WORTH and worth.max() <= ONE * LARGEST_WORTH
