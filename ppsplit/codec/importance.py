"""How much an error matters at each position, guessed from what the edge has: the components. Functions only.

The encoder alone uses it, to choose integers (`wavefront.encode_components`); nothing of it is sent, and no decoder
needs it. So the edge spends its bytes where the rest of the network will look, without running that rest.
"""

from __future__ import annotations

import math

import numpy as np

RADII = (0, 1, 3)  # of the means around a position; the mean of the whole map is the last scale
SCALES = len(RADII) + 1
ONE = 256  # worth 1
LEAST_WORTH, LARGEST_WORTH = 1 / 8, 8.0


def scaled_means(maps: np.ndarray, scale: int) -> np.ndarray:
    """Means of float32 maps [F, H, W] around each position: of the square of RADII[scale], or of all."""
    if scale == len(RADII):
        return np.broadcast_to(maps.mean(axis=(1, 2), keepdims=True), maps.shape)
    radius = RADII[scale]
    for axis in (1, 2):
        maps = _running_mean(maps, radius, axis)
    return maps


def _running_mean(maps: np.ndarray, radius: int, axis: int) -> np.ndarray:
    """Means over 2 * radius + 1 neighbours along an axis; at its ends the last one stands for those outside."""
    if not radius:
        return maps
    size = maps.shape[axis]
    inside = np.arange(size)
    total = np.zeros_like(maps)
    for shift in range(-radius, radius + 1):
        total += maps.take(np.clip(inside + shift, 0, size - 1), axis=axis)
    return total / np.float32(2 * radius + 1)


def signs_and_sizes(components: np.ndarray, count: int) -> np.ndarray:
    """What worth is a linear function of: the first `count` components [K, H, W] and their absolute values."""
    first = components[:count]
    return np.concatenate([first, np.abs(first)])


def worth_of(components: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What a squared error costs at each position, int32 [H, W], in 1/ONE.

    Args:
        components: float32 [K, H, W], in units of the middle quality's step.
        weights: float32 [SCALES, 2 F + 1], F <= K: of the logarithm; the last column is added.
    """
    _, height, width = components.shape
    features = signs_and_sizes(components, weights.shape[1] // 2)
    logarithm = np.full((height, width), weights[:, -1].sum(), np.float32)
    # a weighted sum of means is the mean of the weighted sum, and that is one map instead of hundreds
    sums = (weights[:, :-1] @ features.reshape(len(features), -1)).reshape(SCALES, height, width)
    for scale in range(SCALES):
        logarithm += scaled_means(sums[scale : scale + 1], scale)[0]
    bounded = np.clip(np.nan_to_num(logarithm), math.log(LEAST_WORTH), math.log(LARGEST_WORTH))
    return np.rint(ONE * np.exp(bounded)).astype(np.int32)
