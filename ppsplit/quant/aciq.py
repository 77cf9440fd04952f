"""Clip values from two moments: ACIQ, analytical clipping for integer quantization.

Banner, Nahshan, Soudry, "Post-training 4-bit quantization of convolution networks for rapid-deployment",
NeurIPS 2019 (arXiv:1810.05723), section 3. A range [-a, a] in n steps costs, on a density f with mean 0,

    2 * integral from a of (x - a)^2 f(x) dx   +   a^2 / (3 n^2)          clipping + rounding

The first part falls with a, the second rises, both are convex: the optimum is where the derivative crosses 0.
The paper has n = 2^M (values at the middle of 2^M bins). Our signed grid of b bits has a value at each end and
2^b - 2 steps between them, which matters below 5 bits, so n is a parameter here.

For a density cut off at 0 by a ReLU, [0, a] in n steps costs half of what [-a, a] costs in 2 n (clipping one
tail instead of two, rounding half of the mass; the zeros cost nothing), so the optimum is that of 2 n steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable, Tuple

import numpy as np

from ppsplit.errors import CalibrationError, QuantizationError

LAPLACE, GAUSSIAN = "laplace", "gaussian"
LARGEST_RATIO = 64.0  # the root for Laplace at 2^32 steps is below 42


@dataclass(frozen=True)
class Fit:
    """A density fitted to samples.

    Attributes:
        distribution: "laplace" or "gaussian".
        spread: Laplace's b or the Gaussian's sigma, > 0.
        one_sided: only the positive half of it was seen; the rest is exact zeros, made by a ReLU.
    """

    distribution: str
    spread: float
    one_sided: bool

    def clip(self, intervals: int) -> float:
        """The best clip value a for a grid of that many steps over [-a, a], or [0, a] where one-sided."""
        return self.spread * optimal_ratio(self.distribution, intervals * (2 if self.one_sided else 1))


def clipping_error(distribution: str, ratio: float) -> float:
    """Mean squared error, over spread^2, of cutting both tails off at +-ratio * spread. Appendix A of the paper."""
    if distribution == LAPLACE:
        return 2 * math.exp(-ratio)
    _check_gaussian(distribution)
    tail = math.erfc(ratio / math.sqrt(2))  # erfc, because 1 - erf is 0 from ratio 8.3 on
    return (1 + ratio**2) * tail - math.sqrt(2 / math.pi) * ratio * math.exp(-(ratio**2) / 2)


def rounding_error(ratio: float, intervals: int) -> float:
    """Mean squared error, over spread^2, of n even steps over [-ratio, ratio] * spread: step^2 / 12."""
    return ratio**2 / (3 * intervals**2)


def optimal_ratio(distribution: str, intervals: int) -> float:
    """The clip value over the spread at which the two errors together are least.

    Args:
        distribution: "laplace" or "gaussian".
        intervals: steps over the whole range; the paper's M bits are 2^M.

    Raises:
        QuantizationError: another distribution, or no steps.
    """
    if intervals < 1:
        raise QuantizationError(f"a range cannot be divided into {intervals} steps; at least 1")
    rounding = 2 / (3 * intervals**2)
    if distribution == LAPLACE:
        return _root(lambda ratio: rounding * ratio - 2 * math.exp(-ratio))
    _check_gaussian(distribution)

    def slope(ratio: float) -> float:
        tail = math.erfc(ratio / math.sqrt(2))
        return (rounding + 2 * tail) * ratio - 2 * math.sqrt(2 / math.pi) * math.exp(-(ratio**2) / 2)

    return _root(slope)


def fit(values: np.ndarray, one_sided: bool) -> Fit:
    """The likelier of a Laplace and a Gaussian density with mean 0 for samples.

    Both spreads are those of maximum likelihood, which leaves log L / n = -log(2 b) - 1 and
    -log(sigma sqrt(2 pi)) - 1/2 to compare. (The paper leaves open how to choose; on one half of a symmetric
    density both change by the same log 2.)

    Args:
        values: float, any shape; the mean is taken to be 0, because the grid is centred there.
        one_sided: values are the output of a ReLU: zeros are left out, and none is negative.

    Raises:
        CalibrationError: no values, not finite, all the same, or negative ones where there should be none.
    """
    samples = np.asarray(values, np.float64).ravel()
    _check_samples(samples, one_sided)
    if one_sided:
        samples = samples[samples > 0]
    largest = float(np.abs(samples).max())  # divided out, so that squares neither vanish nor overflow
    b = largest * float(np.abs(samples / largest).mean())
    sigma = largest * math.sqrt(float(np.square(samples / largest).mean()))
    laplace, gaussian = -math.log(2 * b) - 1, -math.log(sigma * math.sqrt(2 * math.pi)) - 0.5
    return Fit(LAPLACE, b, one_sided) if laplace >= gaussian else Fit(GAUSSIAN, sigma, one_sided)


def activation_clip(values: np.ndarray, intervals: int, one_sided: bool) -> float:
    """The clip value that ACIQ gives to samples of an activation: never above their largest magnitude.

    Args:
        values: float, any shape: a tensor on calibration images.
        intervals: of the grid over [-a, a] or, one-sided, [0, a]: `Grid.intervals`.
        one_sided: the values come from a ReLU.

    Raises:
        CalibrationError: as `fit`.
    """
    return min(fit(values, one_sided).clip(intervals), float(np.abs(values).max()))


def channel_clips(values: np.ndarray, intervals: int, one_sided: bool, axis: int = 1) -> np.ndarray:
    """`activation_clip` of each channel: float64 [C]. A constant channel is covered, one of zeros as far as any other.

    Dead channels of a living tensor are common behind a ReLU; their clip values make no difference.

    Raises:
        CalibrationError: as `fit`, when every channel is constant.
    """
    channels = np.moveaxis(np.asarray(values), axis, 0)
    channels = channels.reshape(channels.shape[0], -1)
    alive = np.array([bool((channel != channel[:1]).any()) for channel in channels], bool)
    if not alive.any():
        _check_samples(channels[:1].ravel().astype(np.float64), one_sided)
    clips = np.abs(channels[:, :1]).astype(np.float64).max(axis=1, initial=0)
    clips[alive] = [activation_clip(channel, intervals, one_sided) for channel in channels[alive]]
    return np.where(clips > 0, clips, clips.max())


def _root(increasing: Callable[[float], float]) -> float:
    """Where an increasing function crosses 0 in (0, LARGEST_RATIO), to the last bit that bisection gives."""
    bracket: Tuple[float, float] = (0.0, LARGEST_RATIO)
    while True:
        middle = sum(bracket) / 2
        if middle in bracket:
            return middle
        bracket = (bracket[0], middle) if increasing(middle) > 0 else (middle, bracket[1])


def _check_gaussian(distribution: str) -> None:
    if distribution != GAUSSIAN:
        raise QuantizationError(f"unknown distribution {distribution!r}; choose from {LAPLACE}, {GAUSSIAN}")


def _check_samples(samples: np.ndarray, one_sided: bool) -> None:
    if not samples.size:
        raise CalibrationError("calibration saw no values of a tensor; give a folder of images to calibrate on")
    if not np.isfinite(samples).all():
        raise CalibrationError("calibration saw NaN or infinities; find where the network makes them")
    if samples.min() == samples.max():
        raise CalibrationError(
            f"calibration saw nothing but {samples[0]:g} in a tensor; give images on which it is not constant"
        )
    if one_sided and (samples < 0).any():
        raise CalibrationError("a tensor said to come from a ReLU has negative values; calibrate it two-sided")
