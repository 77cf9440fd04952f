"""The entropy model of integer maps, fitted to examples: least squares for means and energies, counts for tables."""

from __future__ import annotations

from typing import List, Sequence, Tuple

import numpy as np

from ppsplit.codec.contexts import contexts_of, energies_of, features_of, means_of, neighbours_of, residuals_of
from ppsplit.codec.entropy_model import (
    FEATURES,
    FRACTIONS,
    MAX_PREDICT,
    MAX_PRIOR,
    MAX_RADIUS,
    MAX_WEIGHT,
    NEIGHBOURS,
    ROW,
    TOTAL,
    EntropyModel,
)
from ppsplit.errors import CalibrationError

BINS = 48
LEAST_ENERGY, LARGEST_ENERGY = 2.0**-8, 32.0  # of the first and the last threshold, in steps of the quantizer
REFINEMENTS = 3  # of the weights that turn least squares into a relative error
RIDGE = 200.0  # how many average samples the common weights count for in a channel's own
TAIL = 2.0**-11  # probability beyond a table's radius
PARAMETRIC_COUNTS, BIN_COUNTS = 2.0, 12.0  # what tables are smoothed with, in samples


def fit_entropy_model(maps: Sequence[np.ndarray]) -> EntropyModel:
    """The model for maps like these.

    Args:
        maps: int32 [C, H, W] each, all of one C; some dozens make good tables.

    Raises:
        CalibrationError: there are none, or their shapes differ in C.
    """
    if not maps or len({len(values) for values in maps}) != 1:
        raise CalibrationError(
            "fitting an entropy model needs integer maps of one number of channels, got none or several"
        )
    predict = _fit_predict(maps)
    prior, weights = _fit_energy(maps, predict)
    thresholds = np.rint(np.geomspace(LEAST_ENERGY, LARGEST_ENERGY, BINS - 1) * 4096).astype(np.int32)
    counts = _count(maps, predict, prior, weights, thresholds)
    radius, cumulative = _tables(counts, thresholds)
    return EntropyModel(predict, prior, weights, thresholds, radius, cumulative)


def _fit_predict(maps: Sequence[np.ndarray]) -> np.ndarray:
    """int32 [C, NEIGHBOURS]: least squares of a value on its neighbours, channel by channel."""
    channels = len(maps[0])
    normal, target = np.zeros((channels, NEIGHBOURS, NEIGHBOURS)), np.zeros((channels, NEIGHBOURS))
    for values in maps:
        around = np.stack([place.reshape(channels, -1) for place in neighbours_of(values)], axis=1).astype(np.float64)
        normal += around @ around.transpose(0, 2, 1)
        target += (around @ values.reshape(channels, -1, 1).astype(np.float64))[..., 0]
    normal += np.eye(NEIGHBOURS) * 20.0  # of a channel that is almost always 0, nothing is learnt
    solved = np.rint(np.linalg.solve(normal, target[..., None])[..., 0] * 256)
    excess = np.maximum(1.0, np.abs(solved).sum(axis=1, keepdims=True) / (MAX_PREDICT - NEIGHBOURS))
    return np.ascontiguousarray(np.trunc(solved / excess).astype(np.int32))


def _fit_energy(maps: Sequence[np.ndarray], predict: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """int32 [C] and [C, FEATURES]: relative least squares of how far a value lies from its mean."""
    channels = len(maps[0])
    solution = np.zeros((channels, FEATURES + 1))
    solution[:, -1] = 1.0
    for refinement in range(REFINEMENTS):
        normal, target = np.zeros((channels, FEATURES + 1, FEATURES + 1)), np.zeros((channels, FEATURES + 1))
        for values in maps:
            design, wanted = _design(values, predict)
            expected = np.einsum("ckn,ck->cn", design, solution) if refinement else np.ones_like(wanted)
            weighted = design / (np.maximum(expected, 2.0**-5) + 2.0**-5)[:, None]
            normal += weighted @ design.transpose(0, 2, 1)
            target += (weighted @ wanted[..., None])[..., 0]
        solution = _with_common(normal, target)
    prior = np.clip(np.rint(solution[:, -1] * 4096), -MAX_PRIOR, MAX_PRIOR)
    weights = np.clip(np.rint(solution[:, :-1] * 256), -MAX_WEIGHT, MAX_WEIGHT)
    return prior.astype(np.int32), np.ascontiguousarray(weights.astype(np.int32))


def _design(values: np.ndarray, predict: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Features and a 1 [C, FEATURES + 1, N], and the distance to be expected [C, N], in steps."""
    channels = len(values)
    means = means_of(values, predict)
    rows = [feature.reshape(channels, -1) / 16.0 for feature in features_of(values, means)]
    rows.append(np.ones_like(rows[0]))
    return np.stack(rows, axis=1), residuals_of(values, means).reshape(channels, -1) / 16.0


def _with_common(normal: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Each channel's solution, drawn to the one common to all where the channel has little to say."""
    size = normal.shape[-1]
    small = np.eye(size) * 1e-6 * np.trace(normal.mean(axis=0)) + np.eye(size) * 1e-9
    common = np.linalg.solve(normal.mean(axis=0) + small, target.mean(axis=0))
    pull = np.diag(np.diagonal(normal.mean(axis=0)) / max(normal[:, -1, -1].mean(), 1e-9)) * RIDGE + small
    pull[-1, -1] = small[-1, -1]  # a channel's own level is its own
    return np.linalg.solve(normal + pull, (target + pull @ common)[..., None])[..., 0]


def _count(
    maps: Sequence[np.ndarray], predict: np.ndarray, prior: np.ndarray, weights: np.ndarray, thresholds: np.ndarray
) -> np.ndarray:
    """[BINS, FRACTIONS, 2 * MAX_RADIUS + 1]: how often each distance was seen."""
    shape = (BINS, FRACTIONS, 2 * MAX_RADIUS + 1)
    counts = np.zeros(int(np.prod(shape)))
    for values in maps:
        means = means_of(values, predict)
        energies = energies_of(values, means, prior, weights)
        centres, mirrored, bins, fractions = contexts_of(means, energies, thresholds)
        distances = np.where(mirrored, centres - values, values - centres)
        symbols = np.clip(distances, -MAX_RADIUS, MAX_RADIUS) + MAX_RADIUS
        counts += np.bincount(((bins * FRACTIONS + fractions) * shape[2] + symbols).ravel(), minlength=counts.size)
    return counts.reshape(shape)


def _tables(counts: np.ndarray, thresholds: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Radius int32 [BINS] and cumulative int32 [BINS, FRACTIONS, ROW] from counts."""
    energies = np.sqrt(np.append(thresholds, thresholds[-1] * 2.0) * np.append(thresholds[0] / 2.0, thresholds)) / 4096
    radius = np.empty(BINS, np.int32)
    cumulative = np.full((BINS, FRACTIONS, ROW), TOTAL, np.int32)
    for bin_, (seen, energy) in enumerate(zip(counts, energies)):
        whole = seen.sum(axis=0) + PARAMETRIC_COUNTS * _two_sided_geometric(energy)
        whole /= whole.sum()
        radius[bin_] = _radius_of(whole)
        for fraction in range(FRACTIONS):
            probabilities = _folded(seen[fraction] + BIN_COUNTS * whole, int(radius[bin_]))
            cumulative[bin_, fraction, : len(probabilities) + 1] = np.append(0, np.cumsum(_frequencies(probabilities)))
    return radius, cumulative


def _two_sided_geometric(mean_distance: float) -> np.ndarray:
    """Probabilities of -MAX_RADIUS..MAX_RADIUS with about this mean distance from 0."""
    ratio = (np.sqrt(1 + mean_distance**2) - 1) / mean_distance  # solves 2 r / (1 - r^2) = mean distance
    weights = ratio ** np.abs(np.arange(-MAX_RADIUS, MAX_RADIUS + 1))
    return np.asarray(weights / weights.sum())


def _radius_of(probabilities: np.ndarray) -> int:
    """The least radius from which on little is left."""
    for radius in range(1, MAX_RADIUS):
        inside = probabilities[MAX_RADIUS - radius + 1 : MAX_RADIUS + radius]
        if 1 - inside.sum() < TAIL:
            return radius
    return MAX_RADIUS


def _folded(weights: np.ndarray, radius: int) -> np.ndarray:
    """Only -radius..radius, the outermost two with all beyond, normalised."""
    kept = weights[MAX_RADIUS - radius : MAX_RADIUS + radius + 1].copy()
    kept[0] += weights[: MAX_RADIUS - radius].sum()
    kept[-1] += weights[MAX_RADIUS + radius + 1 :].sum()
    return np.asarray(kept / kept.sum())


def _frequencies(probabilities: np.ndarray) -> List[int]:
    """Whole numbers of at least 1 that sum up to TOTAL."""
    frequencies = np.maximum(1, np.floor(probabilities * (TOTAL - len(probabilities))).astype(np.int64))
    frequencies[np.argmax(frequencies)] += TOTAL - frequencies.sum()
    return [int(frequency) for frequency in frequencies]
