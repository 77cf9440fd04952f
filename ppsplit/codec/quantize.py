"""The maths of a uniform n-bit quantizer: 2^n levels evenly over a range, ends included. Functions only.

    step = (high - low) / (2^bits - 1)                 computed in float64, rounded to float32
    code = round_half_even(clip((x - low) / step, 0, 2^bits - 1))
    x'   = low + code * step

The arithmetic on tensors is float32, so that both halves and another implementation get the same numbers.
Inside the range |x' - x| <= step / 2 up to float32 rounding; outside, values saturate. A range of zero width
has step 0: every code is 0 and every value becomes `low`.
"""

from __future__ import annotations

import math

import numpy as np

from ppsplit.bundle import Clip
from ppsplit.errors import CodecError

FLOAT32_MAX = float(np.finfo(np.float32).max)


def levels(bits: int) -> int:
    """The largest code: 255 for 8 bits, 15 for 4."""
    return (1 << bits) - 1


def check_clip(clip: Clip) -> None:
    """Raise CodecError unless low <= high, both finite and within float32."""
    ends = (clip.low, clip.high)
    if not all(math.isfinite(end) and abs(end) <= FLOAT32_MAX for end in ends) or clip.low > clip.high:
        raise CodecError(f"a clip range needs finite float32 ends with low <= high, got {ends}; calibrate again")


def step_of(clip: Clip, bits: int) -> np.float32:
    """Distance of two neighbouring levels; 0 for a range without width."""
    return np.float32((clip.high - clip.low) / levels(bits))


def quantize(values: np.ndarray, clip: Clip, bits: int) -> np.ndarray:
    """Codes of `values`.

    Args:
        values: float32, any shape, finite.
        clip: the range that the levels cover.
        bits: 1 to 8.

    Returns:
        uint8 of the same shape, 0 to 2^bits - 1.

    Raises:
        CodecError: a value is NaN or infinite, or the range is not one.
    """
    check_clip(clip)
    if not np.isfinite(values).all():
        raise CodecError("a feature is NaN or infinite and has no code; check the head, or send with encoding fp32")
    step = step_of(clip, bits)
    if step == 0:
        return np.zeros(values.shape, np.uint8)
    with np.errstate(over="ignore"):  # (x - low) may leave float32 for absurd x; the clip brings it back
        scaled = np.subtract(values, np.float32(clip.low), dtype=np.float32)
        np.divide(scaled, step, out=scaled)
    np.clip(scaled, 0, levels(bits), out=scaled)
    np.rint(scaled, out=scaled)
    return scaled.astype(np.uint8)


def dequantize(codes: np.ndarray, clip: Clip, bits: int) -> np.ndarray:
    """Values of codes: uint8 of any shape to float32 of the same. Raises CodecError for a range that is none."""
    check_clip(clip)
    values = codes.astype(np.float32)
    values *= step_of(clip, bits)
    values += np.float32(clip.low)
    return values


def mean_squared_error(values: np.ndarray, clip: Clip, bits: int) -> float:
    """What quantizing float32 `values` costs: mean of (x' - x)^2, accumulated in float64."""
    error = dequantize(quantize(values, clip, bits), clip, bits) - values
    return float(np.mean(np.square(error, dtype=np.float64)))
