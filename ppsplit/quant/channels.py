"""What ACIQ does to channels: bits for each of them, and weights whose mean and variance survive rounding.

Banner, Nahshan, Soudry, NeurIPS 2019 (arXiv:1810.05723), sections 4 and 5.
"""

from __future__ import annotations

from typing import Tuple

import numpy as np

from ppsplit.errors import QuantizationError
from ppsplit.quant.uniform import for_weights

LEAST_BITS, MOST_BITS = 2, 8  # what `quant.uniform` and the packed file have


def optimal_levels(clips: np.ndarray, budget: float) -> np.ndarray:
    """Levels per channel, not rounded, that make the rounding error least: section 4.

    The error of channel i with L_i levels is clips_i^2 / (3 L_i^2). With the sum of all L_i fixed to `budget`,
    a Lagrange multiplier gives L_i = budget * clips_i^(2/3) / sum of clips_j^(2/3).

    Args:
        clips: float [C], >= 0, not all 0; the channels' ranges.
        budget: > 0; the number of levels of all channels together, C * 2^M for M bits on average.

    Returns:
        float64 [C].

    Raises:
        QuantizationError: no channels, negative, not finite, or all zero ranges.
    """
    clips = np.asarray(clips, np.float64)
    if clips.ndim != 1 or not np.isfinite(clips).all() or (clips < 0).any() or not clips.any():
        raise QuantizationError(f"ranges of {clips.shape} channels must be finite, not negative and not all zero")
    share = np.cbrt(clips / clips.max()) ** 2
    return budget * share / share.sum()


def channel_bits(clips: np.ndarray, mean_bits: int, least: int = LEAST_BITS, most: int = MOST_BITS) -> np.ndarray:
    """Bits per channel of `optimal_levels`, in whole bits, within the same number of levels.

    Rounded down first; what that leaves over goes, a bit at a time, to the channel whose error falls most per
    level. The sum of 2^bits never exceeds C * 2^mean_bits, so neither do the mean bits (2^x is convex).

    Returns:
        int64 [C], each in least..most.

    Raises:
        QuantizationError: as `optimal_levels`, or `mean_bits` outside least..most.
    """
    if not least <= mean_bits <= most:
        raise QuantizationError(f"{mean_bits} bits on average cannot be had with {least} to {most} a channel")
    clips = np.asarray(clips, np.float64)
    budget = clips.size * 2**mean_bits
    levels = np.maximum(optimal_levels(clips, budget), 2.0**least)
    bits = np.clip(np.floor(np.log2(levels)), least, most).astype(np.int64)
    # Those raised to `least` took levels that the others count on: taken back where they are missed least.
    while (2**bits).sum() > budget:
        loss = np.where(bits > least, _gain(clips, bits - 1), np.inf)
        bits[int(np.argmin(loss))] -= 1
    while True:
        fits = (bits < most) & ((2**bits).sum() + 2**bits <= budget)
        gain = np.where(fits, _gain(clips, bits), -np.inf)
        best = int(np.argmax(gain))
        if not gain[best] > 0:
            return bits
        bits[best] += 1


def _gain(clips: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """What one bit more takes off the error, per level that it costs: the error falls by 3/4 for 2^bits levels."""
    return clips**2 / 4.0**bits * 0.75 / 2.0**bits


def bias_corrected(weights: np.ndarray, bits: int) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights rounded, then scaled and shifted per channel until mean and variance are the original's: section 5.

    The paper's w <- xi (w + mu), with mu the difference of the means and xi the quotient of the deviations'
    norms, leaves a mean of xi times the original's. Here w <- xi (w - mean_q) + mean, which restores both.

    Args:
        weights: float [C, ...], the channels in front.

    Returns:
        codes int32 of the same shape, scale float32 [C] and offset float32 [C]: a weight is code * scale + offset.

    Raises:
        QuantizationError: as `for_weights`.
    """
    weights = np.asarray(weights, np.float32)
    quantizer = for_weights(weights, bits, axis=0)
    codes = quantizer.encode(weights)
    exact = weights.reshape(len(weights), -1).astype(np.float64)
    rounded = codes.reshape(len(codes), -1).astype(np.float64) * quantizer.scale[:, None]
    deviation, rounded_deviation = exact.std(axis=1), rounded.std(axis=1)
    # a channel rounded to one value has no variance to scale; a 1x1x1 filter has none at all
    ratio = np.where(rounded_deviation > 0, deviation / np.where(rounded_deviation > 0, rounded_deviation, 1), 1.0)
    offset = exact.mean(axis=1) - ratio * rounded.mean(axis=1)
    return codes, (quantizer.scale * ratio).astype(np.float32), offset.astype(np.float32)
