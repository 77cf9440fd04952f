"""Clip values of several tensors together, on the loss itself: LAPQ.

Nahshan, Chmiel, Baskin, Zheltonozhskii, Banner, Bronstein, Mendelson, "Loss Aware Post-training Quantization",
2019 (arXiv:1911.07190), section 4, in its three steps:

1. Layer-wise: for each of several p, every tensor's clip value that makes its own L_p error least (4.1). A large
   p minds outliers, p = 2 is the mean squared error. This gives a curve through the space of all clip values.
2. Quadratic: the loss along this curve is near a parabola in p; the curve's point at the parabola's lowest (4.2).
3. Joint: Powell's method from there, over all clip values at once, on the loss (4.3). It needs no gradient, which
   rounding does not have, and its directions turn with the curvature, which at few bits is not separable.

The loss is whatever the caller measures on calibration images. Clip values go through a logarithm, so that one
step means the same for a tensor of any scale.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, List, Sequence, Tuple

import numpy as np
from scipy import optimize

from ppsplit.errors import CalibrationError, QuantizationError
from ppsplit.quant.uniform import Quantizer, one_sided, symmetric

NORMS = (2.0, 2.5, 3.0, 3.5, 4.0)  # the paper's range of p
NARROWEST, WIDEST = 1 / 4, 4.0  # how far Powell may take a clip value from where it starts
COARSE_POINTS, FINE_POINTS, FINE_PASSES = 48, 9, 4
SMALLEST_CLIP_RATIO = 1e-3
TOLERANCE = 1e-3  # of log(clip) and of the loss; below it a calibration set says nothing

Loss = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Tensor:
    """A tensor to be quantized as one whole.

    Attributes:
        samples: float, any shape; its values, or enough of them.
        bits: 2..16.
        one_sided: never negative: the unsigned grid.
    """

    samples: np.ndarray
    bits: int
    one_sided: bool = False

    def quantizer(self, clip: float) -> Quantizer:
        """The grid over [-clip, clip] or [0, clip]."""
        return one_sided(clip, self.bits) if self.one_sided else symmetric(clip, self.bits)


@dataclass(frozen=True)
class Calibrated:
    """What LAPQ found.

    Attributes:
        clips: float64 [tensors].
        loss: there; never above any loss that was measured.
        layer_wise_loss: the least after step 1.
        p: of the layer-wise point that the joint search started from.
        evaluations: how often the loss was measured.
    """

    clips: np.ndarray
    loss: float
    layer_wise_loss: float
    p: float
    evaluations: int


def lp_error(values: np.ndarray, quantizer: Quantizer, p: float) -> float:
    """(mean |q(x) - x|^p)^(1/p): the paper's norm over n^(1/p), which moves no minimum and keeps it in float's range.

    Args:
        values: float, any shape, not empty.
        p: >= 1.
    """
    distances = np.abs(quantizer.fake(values).astype(np.float64) - values)
    largest = float(distances.max())
    return largest * float(np.mean((distances / largest) ** p)) ** (1 / p) if largest else 0.0


def layer_clip(tensor: Tensor, p: float) -> float:
    """The clip value with the least L_p error on the tensor's samples (step 1).

    The error has many shallow minima, so the range is scanned before the best place is searched more finely.

    Raises:
        CalibrationError: no samples, not finite, or nothing but zeros.
    """
    values = np.asarray(tensor.samples, np.float32).ravel()
    if not values.size or not np.isfinite(values).all() or not values.any():
        raise CalibrationError(
            f"a tensor's {values.size} samples are none, not finite or all zero; calibrate on images that it sees"
        )
    largest = float(np.abs(values).max())

    def best(clips: np.ndarray) -> float:
        return float(min(clips, key=lambda clip: lp_error(values, tensor.quantizer(clip), p)))

    ratios = np.geomspace(SMALLEST_CLIP_RATIO, 1, COARSE_POINTS)
    found, spread = best(largest * ratios), float(ratios[1] / ratios[0])
    for _ in range(FINE_PASSES):
        found = best(np.minimum(largest, found * np.geomspace(1 / spread, spread, FINE_POINTS)))
        spread **= 2 / (FINE_POINTS - 1)
    return found


def lapq(tensors: Sequence[Tensor], loss: Loss, norms: Sequence[float] = NORMS, evaluations: int = 2000) -> Calibrated:
    """Clip values that make the loss least: layer-wise, along the curve of p, then jointly.

    Args:
        tensors: what is quantized.
        loss: clip values, float64 [tensors], to the loss on calibration images.
        norms: at least three different p >= 1.
        evaluations: about how often the loss may be measured in the joint step.

    Raises:
        QuantizationError: fewer than three norms, no tensors, or the loss is finite nowhere on the curve.
        CalibrationError: a tensor's samples say nothing.
    """
    norms = sorted(set(norms))
    if len(norms) < 3 or norms[0] < 1:
        raise QuantizationError(f"a parabola needs three different p of at least 1, got {list(norms)}")
    if not tensors:
        raise QuantizationError("there is no tensor to calibrate; choose operators that can be quantized")
    measured = _Measured(loss)
    for p in norms:
        measured.at(p, _curve(tensors, p))
    vertex = lowest_of_parabola(norms, [value for _, _, value in measured.points])
    if vertex not in norms:
        measured.at(vertex, _curve(tensors, vertex))
    p, start, layer_wise = measured.best
    if not np.isfinite(layer_wise):
        raise QuantizationError(f"the loss is not finite at any of {len(norms)} starting points; use more bits")
    _powell(measured, start, evaluations)
    _, clips, least = measured.best
    return Calibrated(clips, least, layer_wise, p, len(measured.points))


def lowest_of_parabola(at: Sequence[float], values: Sequence[float]) -> float:
    """Where the parabola nearest to the points is lowest within their range (step 2).

    The best point itself where fewer than three values are finite, or the parabola opens downwards.
    """
    finite = [(x, y) for x, y in zip(at, values) if np.isfinite(y)]
    if not finite:
        return at[0]
    best = min(finite, key=lambda point: point[1])[0]
    if len(finite) < 3:
        return best
    xs, ys = np.array(finite).T
    bend, slope, _ = np.polyfit(xs - xs.mean(), ys, 2)
    if bend <= 0:
        return best
    return float(np.clip(xs.mean() - slope / (2 * bend), xs.min(), xs.max()))


@dataclass
class _Measured:
    """Every loss that was measured: p (0 in the joint step), clip values, loss; NaN counts as infinite."""

    loss: Loss
    points: List[Tuple[float, np.ndarray, float]] = field(default_factory=list)

    def at(self, p: float, clips: np.ndarray) -> float:
        value = float(self.loss(clips))
        value = value if np.isfinite(value) else float("inf")
        self.points.append((p, np.array(clips, np.float64), value))
        return value

    @property
    def best(self) -> Tuple[float, np.ndarray, float]:
        return min(self.points, key=lambda point: point[2])


def _curve(tensors: Sequence[Tensor], p: float) -> np.ndarray:
    return np.array([layer_clip(tensor, p) for tensor in tensors])


def _powell(measured: _Measured, start: np.ndarray, evaluations: int) -> None:
    """Step 3. What it measures is kept in `measured`: a budget may end it away from its best point."""
    worst = max(value for _, _, value in measured.points if np.isfinite(value))
    # a line search that meets an infinity computes with it and is lost; a wall of some height turns it back
    wall = 10 * abs(worst) + 1
    ends = (float(np.log(NARROWEST)), float(np.log(WIDEST)))
    optimize.minimize(
        lambda logarithms: min(measured.at(0.0, start * np.exp(logarithms)), wall),
        np.zeros(len(start)),
        method="Powell",
        bounds=[ends] * len(start),
        options={"maxfev": evaluations, "xtol": TOLERANCE, "ftol": TOLERANCE},
    )
