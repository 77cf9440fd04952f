"""Uniform quantizers: which integers a value may become, and which float each of them stands for.

    code  = clip(rint(x / scale) + zero_point, low, high)      float64, ties to even
    value = (code - zero_point) * scale                        float32, one rounding

| grid          | codes                        | zero_point | for                                              |
|---------------|------------------------------|------------|--------------------------------------------------|
| signed, b     | -(2^(b-1)-1) .. 2^(b-1)-1    | 0          | weights, and activations as Paddle has them      |
| unsigned, b   | 0 .. 2^b - 1                 | 0          | activations that are never negative              |
| unsigned, b   | 0 .. 2^b - 1                 | 0..2^b - 1 | activations with two different ends (affine)     |

The signed grid leaves -2^(b-1) out, as Paddle's int8 weights do (-127..127): it is symmetric, so that the clip
value alone says everything, and at 2 bits it is -1, 0, 1. (Paddle's `quantize_linear` lets an activation below
-clip become -128; no weight lies there.) Every grid has 0.0 among its values exactly: padding is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Union

import numpy as np

from ppsplit.errors import QuantizationError

MIN_BITS, MAX_BITS = 2, 16
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)  # below it float32 loses bits, and at last becomes 0

ArrayLike = Union[float, np.ndarray]


@dataclass(frozen=True)
class Grid:
    """The codes `low`..`high`, both included."""

    low: int
    high: int

    @property
    def intervals(self) -> int:
        """Steps between the first code and the last."""
        return self.high - self.low


def signed_grid(bits: int) -> Grid:
    """-(2^(bits-1) - 1) .. 2^(bits-1) - 1. Raises QuantizationError for bits outside 2..16."""
    _check_bits(bits)
    return Grid(1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1)


def unsigned_grid(bits: int) -> Grid:
    """0 .. 2^bits - 1. Raises QuantizationError for bits outside 2..16."""
    _check_bits(bits)
    return Grid(0, 2**bits - 1)


@dataclass(frozen=True)
class Quantizer:
    """A grid laid over the floats.

    Attributes:
        grid: the codes.
        scale: float32, () for the whole tensor or [C] for the channels of `axis`; what one step is worth, > 0.
        zero_point: int64 of the same shape; the code of 0.0.
        axis: of the channels, None for the whole tensor.
    """

    grid: Grid
    scale: np.ndarray
    zero_point: np.ndarray
    axis: Optional[int] = None

    def encode(self, values: np.ndarray) -> np.ndarray:
        """int32 codes of the same shape. Raises QuantizationError for NaN or infinities, or other channels."""
        values = np.asarray(values)
        if not np.isfinite(values).all():
            raise QuantizationError("NaN and infinities have no code; find where the network makes them")
        steps = np.rint(values.astype(np.float64) / self._broadcast(self.scale, values))
        codes = np.clip(steps + self._broadcast(self.zero_point, values), self.grid.low, self.grid.high)
        return codes.astype(np.int32)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """float32 values of codes of any integer type."""
        codes = np.asarray(codes)
        steps = codes.astype(np.int64) - self._broadcast(self.zero_point, codes)
        return steps.astype(np.float32) * self._broadcast(self.scale, codes)

    def fake(self, values: np.ndarray) -> np.ndarray:
        """`values` as the grid has them: float32 of the same shape."""
        return self.decode(self.encode(values))

    def _broadcast(self, parameter: np.ndarray, values: np.ndarray) -> np.ndarray:
        if self.axis is None:
            return parameter
        if not -values.ndim <= self.axis < values.ndim or values.shape[self.axis] != parameter.size:
            raise QuantizationError(
                f"the quantizer has {parameter.size} channels on axis {self.axis}, the tensor has shape {values.shape}"
            )
        shape = [1] * values.ndim
        shape[self.axis] = parameter.size
        return parameter.reshape(shape)


def symmetric(clip: ArrayLike, bits: int, axis: Optional[int] = None) -> Quantizer:
    """The signed grid over [-clip, clip].

    Args:
        clip: > 0; a number, or [C] for the channels of `axis`.

    Raises:
        QuantizationError: a clip value is not finite or so small that the scale would be 0.
    """
    grid = signed_grid(bits)
    return _from_zero(clip, grid, axis)


def one_sided(clip: ArrayLike, bits: int, axis: Optional[int] = None) -> Quantizer:
    """The unsigned grid over [0, clip], for what is never negative. Arguments and errors as for `symmetric`."""
    return _from_zero(clip, unsigned_grid(bits), axis)


def affine(low: ArrayLike, high: ArrayLike, bits: int, axis: Optional[int] = None) -> Quantizer:
    """The unsigned grid over [low, high], widened to hold 0 and shifted by under a step so that 0 is exact.

    Args:
        low, high: numbers, or [C] each for the channels of `axis`.

    Raises:
        QuantizationError: not finite, low > high, or both so near 0 that the scale would be 0.
    """
    grid = unsigned_grid(bits)
    lows, highs = np.minimum(np.asarray(low, np.float64), 0), np.maximum(np.asarray(high, np.float64), 0)
    if np.any(np.asarray(low) > np.asarray(high)):
        raise QuantizationError(f"a range from {low} down to {high} is none")
    scale = _checked_scale((highs - lows) / grid.intervals, axis)
    zero_point = np.rint(-lows / scale).astype(np.int64)
    return Quantizer(grid, scale, np.clip(zero_point, grid.low, grid.high), axis)


def for_weights(weights: np.ndarray, bits: int, axis: Optional[int] = 0) -> Quantizer:
    """The signed grid up to the largest magnitude of each channel, as Paddle's channel_wise_abs_max takes it.

    A channel of zeros (pruned, or never used) gets the scale 1: all its codes are 0 with any scale, and a scale
    of 0 would divide by it.

    Args:
        weights: float, finite, any shape; not empty.
        axis: of the channels (0 are a convolution's outputs), None for one scale.

    Raises:
        QuantizationError: no weights, or not finite.
    """
    weights = np.asarray(weights)
    if not weights.size or not np.isfinite(weights).all():
        raise QuantizationError(f"weights of shape {weights.shape} are empty or not finite; load other weights")
    grid = signed_grid(bits)
    others = None if axis is None else tuple(i for i in range(weights.ndim) if i != axis % weights.ndim)
    largest = np.abs(weights.astype(np.float64)).max(axis=others)
    usable = largest / grid.high >= SMALLEST_SCALE
    return _from_zero(np.where(usable, largest, grid.high), grid, axis)


def sqnr_db(values: np.ndarray, quantized: np.ndarray) -> float:
    """Signal to quantization noise, 10 log10(sum x^2 / sum (x - q)^2), in dB; infinite where nothing was lost."""
    exact = np.asarray(values, np.float64)
    noise = float(np.square(exact - quantized).sum())
    signal = float(np.square(exact).sum())
    if noise == 0:
        return float("inf")
    return float("-inf") if signal == 0 else 10 * float(np.log10(signal / noise))


def _from_zero(clip: ArrayLike, grid: Grid, axis: Optional[int]) -> Quantizer:
    scale = _checked_scale(np.asarray(clip, np.float64) / grid.high, axis)
    return Quantizer(grid, scale, np.zeros(scale.shape, np.int64), axis)


def _checked_scale(scale: np.ndarray, axis: Optional[int]) -> np.ndarray:
    if scale.ndim != (0 if axis is None else 1):
        raise QuantizationError(f"scales of shape {scale.shape} do not go with axis {axis}; one a channel, or one")
    rounded = scale.astype(np.float32)
    if not np.isfinite(rounded).all() or (rounded < SMALLEST_SCALE).any():
        raise QuantizationError(
            f"a scale of {scale.min(initial=np.inf):.3g} quantizes nothing; the clip value must be "
            "finite and more than 0: give calibration images on which the tensor is not constant"
        )
    return rounded


def _check_bits(bits: int) -> None:
    if bits not in range(MIN_BITS, MAX_BITS + 1):
        raise QuantizationError(f"{bits} bits are not possible; choose from {MIN_BITS} to {MAX_BITS}")
