"""By what a wavefront coder predicts an element: mean, energy, table. Whole maps at once, in integers alone.

An element's mean is a weighted sum of its six neighbours (as lossless image coders predict, with weights fitted per
channel). The energy, a weighted sum of how far the neighbours in space and in the channels before lay from their means
(Wu and Memon, "Context-based, adaptive, lossless image coding", 1997, section III.C), chooses one of some forty bins.
Bin and the mean's fraction choose a table of the distance between value and rounded mean, mirrored where the fraction
is negative.
"""

from __future__ import annotations

from typing import Iterator, Tuple

import numpy as np

CAP = 1_023  # of distances, in 1/16
PLACES = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0))  # rows and columns of the six neighbours


def _padded(values: np.ndarray) -> np.ndarray:
    """With 2 rows of zeros above and 2 columns on both sides."""
    return np.pad(values, ((0, 0), (2, 0), (2, 2)))


def _at(padded: np.ndarray, row: int, column: int) -> np.ndarray:
    """The neighbours at this distance, for all elements."""
    height, width = padded.shape[1] - 2, padded.shape[2] - 4
    return padded[:, 2 + row : 2 + row + height, 2 + column : 2 + column + width]


def _before(maps: np.ndarray, distance: int) -> np.ndarray:
    """The map `distance` channels before, 0 where there is none."""
    shifted = np.zeros_like(maps)
    shifted[distance:] = maps[: max(0, len(maps) - distance)]
    return shifted


def neighbours_of(values: np.ndarray) -> Iterator[np.ndarray]:
    """The values at each of PLACES, [C, H, W] each, 0 outside."""
    padded = _padded(values)
    for place in PLACES:
        yield _at(padded, *place)


def means_of(values: np.ndarray, predict: np.ndarray) -> np.ndarray:
    """Predicted means in 1/256, int32 [C, H, W], of int32 values; `predict` as in `EntropyModel`."""
    means = np.zeros_like(values)
    for weights, neighbours in zip(predict.T, neighbours_of(values)):
        means += weights[:, None, None] * neighbours
    return means


def residuals_of(values: np.ndarray, means: np.ndarray) -> np.ndarray:
    """How far values lie from their means, in 1/16, capped."""
    return np.minimum(np.abs(256 * values - means) // 16, CAP)


def features_of(values: np.ndarray, means: np.ndarray) -> Iterator[np.ndarray]:
    """The FEATURES of the energy, one int32 [C, H, W] after the other."""
    residuals = residuals_of(values, means)
    around = _padded(residuals)
    yield from neighbours_of(residuals)
    yield _before(residuals, 1)
    yield _before(residuals, 2)
    yield _before(residuals, 3) + _before(residuals, 4)
    yield sum((_before(residuals, distance) for distance in (5, 6, 7, 8)), np.zeros_like(residuals))
    yield _before(_at(around, 0, -1) + _at(around, -1, 0) + _at(around, 0, 1), 1)
    yield np.minimum(np.abs(means) // 16, CAP)
    padded = _padded(np.abs(values))
    yield np.minimum(16 * (_at(padded, 0, -1) + _at(padded, -1, 0)), CAP)


def energies_of(values: np.ndarray, means: np.ndarray, prior: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Energies in 1/4096, int32 [C, H, W]; `prior` and `weights` as in `EntropyModel`."""
    energies = np.broadcast_to(prior[:, None, None], values.shape).copy()
    for factors, feature in zip(weights.T, features_of(values, means)):
        energies += factors[:, None, None] * feature
    return energies


def contexts_of(means: np.ndarray, energies: np.ndarray, thresholds: np.ndarray) -> Tuple[np.ndarray, ...]:
    """Rounded mean, whether distances are mirrored, bin, and class of the fraction."""
    centres = (means + 128) >> 8
    fractions = means - (centres << 8)
    bins = np.searchsorted(thresholds, energies, side="right")
    return centres, fractions < 0, bins, np.minimum(np.abs(fractions) // 16, 7)
