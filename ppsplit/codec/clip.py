"""The range of a quantizer that costs least on samples of a tensor.

A wide range wastes levels on rare values, a narrow one cuts them off; the mean squared error has its least
somewhere between. Both ends are searched separately: after a ReLU the low end is exactly 0, after a leaky ReLU
it lies a tenth as far out as the high one, and a symmetric range would waste half the levels on either.
"""

from __future__ import annotations

from typing import Tuple

import numpy as np

from ppsplit.bundle import Clip
from ppsplit.codec.pack import BITS
from ppsplit.codec.quantize import mean_squared_error
from ppsplit.errors import CodecError

# An end lies at median + ratio * (extreme - median). The optimum of heavy tails can lie far inside.
COARSE_RATIOS = np.geomspace(1.0, 0.01, 16)
COARSE_SAMPLES, FINE_SAMPLES = 8_192, 131_072
REFINE_PASSES, REFINE_POINTS = 4, 9


def calibrate_clip(samples: np.ndarray, bits: int) -> Clip:
    """The range with the least mean squared quantization error on `samples`.

    Deterministic. Never worse on `samples` than the range from their minimum to their maximum.

    Args:
        samples: float, any shape; the tensor's values on calibration images.
        bits: 8 or 4.

    Raises:
        CodecError: no samples, a non-finite one, or another number of bits.
    """
    if bits not in BITS:
        raise CodecError(f"clip ranges are for 8 or 4 bits, not {bits}")
    values = np.sort(np.asarray(samples, np.float32), axis=None)  # sorted, so that a stride keeps the distribution
    if not values.size or not np.isfinite(values).all():
        raise CodecError(
            f"calibration needs finite samples, got {values.size} with NaN or infinities among them or none"
        )
    full = Clip(float(values[0]), float(values[-1]))
    if full.low == full.high:
        return full
    ratios = _coarse_search(_thin(values, COARSE_SAMPLES), full, bits)
    found = _refine(_thin(values, FINE_SAMPLES), full, ratios, bits)
    return min((full, found), key=lambda clip: mean_squared_error(values, clip, bits))


def _thin(sorted_values: np.ndarray, count: int) -> np.ndarray:
    """At most about `count` of the values, evenly by rank, both extremes among them."""
    if sorted_values.size <= count:
        return sorted_values
    return sorted_values[np.linspace(0, sorted_values.size - 1, count).round().astype(np.int64)]


def _clip_at(sorted_values: np.ndarray, full: Clip, ratios: Tuple[float, float]) -> Clip:
    median = float(sorted_values[sorted_values.size // 2])
    # rounded to float32 here, because that is what both halves compute with
    low, high = (float(np.float32(median + r * (end - median))) for r, end in zip(ratios, (full.low, full.high)))
    return Clip(low, high)


def _coarse_search(values: np.ndarray, full: Clip, bits: int) -> Tuple[float, float]:
    """The best pair of `COARSE_RATIOS`; pairs, because each end's optimum moves with the other."""
    pairs = [(float(low), float(high)) for low in COARSE_RATIOS for high in COARSE_RATIOS]
    return min(pairs, key=lambda pair: mean_squared_error(values, _clip_at(values, full, pair), bits))


def _refine(values: np.ndarray, full: Clip, ratios: Tuple[float, float], bits: int) -> Clip:
    """Move one end after the other within ever finer brackets around the best so far."""
    spread = float(COARSE_RATIOS[0] / COARSE_RATIOS[1])
    best = list(ratios)
    for _ in range(REFINE_PASSES):
        for end in (0, 1):
            candidates = [min(1.0, best[end] * factor) for factor in np.geomspace(1 / spread, spread, REFINE_POINTS)]
            tried = [(candidate, best[1]) if end == 0 else (best[0], candidate) for candidate in candidates]
            errors = [mean_squared_error(values, _clip_at(values, full, pair), bits) for pair in tried]
            best = list(tried[int(np.argmin(errors))])
        spread **= 0.5
    return _clip_at(values, full, (best[0], best[1]))
