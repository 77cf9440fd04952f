"""An entropy model made of whole numbers by hand: the same on every machine, as golden bytes need it."""

from __future__ import annotations

import numpy as np

from ppsplit.codec.entropy_model import FEATURES, FRACTIONS, NEIGHBOURS, ROW, TOTAL, EntropyModel

BINS = 12


def integer_model(channels: int) -> EntropyModel:
    """Distances fall off by halves, the slower the higher the bin."""
    radius = np.minimum(1 + 2 * np.arange(BINS), 31).astype(np.int32)
    cumulative = np.full((BINS, FRACTIONS, ROW), TOTAL, np.int32)
    for bin_ in range(BINS):
        for fraction in range(FRACTIONS):
            distances = np.arange(-radius[bin_], radius[bin_] + 1)
            weights = 1 + (4096 >> np.minimum(np.abs(2 * distances - (fraction > 4)) // (1 + bin_), 12))
            frequencies = np.maximum(1, weights * (TOTAL - 128) // weights.sum())
            frequencies[len(frequencies) // 2] += TOTAL - frequencies.sum()
            cumulative[bin_, fraction, : len(frequencies) + 1] = [0, *np.cumsum(frequencies)]
    predict = np.tile(np.array([120, 100, -40, 20, 16, 8], np.int32), (channels, 1))
    assert predict.shape[1] == NEIGHBOURS
    weights = np.tile(np.array([60, 50, 20, 20, 30, 30, 25, 15, 10, 5, 5, 8, -3], np.int32), (channels, 1))
    assert weights.shape[1] == FEATURES
    prior = (400 - 20 * np.arange(channels) % 400).astype(np.int32)
    return EntropyModel(predict, prior, weights, (64 << np.arange(BINS - 1)).astype(np.int32), radius, cumulative)


def smooth_map(channels: int, height: int, width: int, scale: float = 4.0, seed: int = 0) -> np.ndarray:
    """int32 [C, H, W] whose neighbours are alike, the later channels smaller."""
    noise = np.random.default_rng(seed).standard_normal((channels, height + 2, width + 2))
    smooth = noise[:, 1:-1, 1:-1] + noise[:, :-2, 1:-1] + noise[:, 1:-1, :-2]
    return np.rint(smooth * scale / (1 + np.arange(channels))[:, None, None]).astype(np.int32)
