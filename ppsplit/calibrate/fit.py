"""Tables of a learned codec from feature maps and the task's gradients."""

from __future__ import annotations

from typing import Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np

from ppsplit.calibrate.components import weighted_components
from ppsplit.calibrate.entropy import fit_entropy_model
from ppsplit.codec.tables import FeatureTables, Rung, TensorTables, scale_of
from ppsplit.codec.transform import TAPS, around, to_components
from ppsplit.codec.wavefront import LARGEST
from ppsplit.errors import CalibrationError

QUALITIES = (18, 34, 50, 66, 82)  # of the rungs, an octave apart
MIDDLE_STEP = 0.22  # of the largest component's standard deviation
# Of maps that a model, and the way back, are fitted to: of yolov3-tiny 24 and 60.
MODEL_ELEMENTS, BACKWARD_ELEMENTS = 2_100_000, 5_200_000
BACKWARD_RIDGE = 30.0  # in samples of a component at the least integer
Progress = Callable[[str, int, int], None]


def fit_tables(
    maps: Mapping[str, Sequence[np.ndarray]], importance: Mapping[str, np.ndarray], progress: Progress
) -> FeatureTables:
    """Tables for all tensors of a cut, with one step for all.

    Args:
        maps: tensor name to float32 [C, H, W] of each photo.
        importance: tensor name to M, float64 [C, C].
        progress: called with what comes, its number and how many there are.

    Raises:
        CalibrationError: nothing varies or matters.
    """
    spaces: Dict[str, Tuple[np.ndarray, np.ndarray]] = {}
    largest = 0.0
    for name, tensor_maps in maps.items():
        mean, covariance = _moments(tensor_maps)
        forward, variances = weighted_components(covariance, importance[name])
        spaces[name] = mean, forward
        largest = max(largest, float(variances[0]))
    step = MIDDLE_STEP * np.sqrt(largest)
    tensors: Dict[str, TensorTables] = {}
    total = len(maps) * len(QUALITIES)
    for name, (mean, forward) in spaces.items():
        scaled = np.ascontiguousarray(forward / step, np.float32)
        mean32 = mean.astype(np.float32)
        components = [to_components(values, mean32, scaled) for values in maps[name]]
        inverse = np.linalg.inv(scaled.astype(np.float64))
        rungs: List[Rung] = []
        for quality in QUALITIES:
            progress(f"quality {quality}", len(tensors) * len(QUALITIES) + len(rungs) + 1, total)
            rungs.append(_rung(components, inverse, quality))
        tensors[name] = TensorTables(mean32, scaled, tuple(rungs))
    return FeatureTables(QUALITIES, tensors)


def _moments(maps: Sequence[np.ndarray]) -> Tuple[np.ndarray, np.ndarray]:
    """Mean [C] and covariance [C, C] over photos and positions, float64."""
    channels = len(maps[0])
    total, square, count = np.zeros(channels), np.zeros((channels, channels)), 0
    for values in maps:
        flat = values.reshape(channels, -1).astype(np.float64)
        if not np.isfinite(flat).all():
            raise CalibrationError("the head computes values that are not finite on a photo; certify the bundle")
        total += flat.sum(axis=1)
        square += flat @ flat.T
        count += flat.shape[1]
    mean = total / count
    return mean, square / count - np.outer(mean, mean)


def _rung(components: Sequence[np.ndarray], inverse: np.ndarray, quality: int) -> Rung:
    scale = np.float32(scale_of(quality))  # as the encoder does
    rounded = [np.rint(np.clip(values * scale, -LARGEST, LARGEST)).astype(np.int32) for values in components]
    model = fit_entropy_model([rounded[index] for index in _spread(rounded, MODEL_ELEMENTS)])
    chosen = _spread(rounded, BACKWARD_ELEMENTS)
    pairs = [rounded[index] for index in chosen], [components[index] for index in chosen]
    backward = (inverse @ _least_squares(*pairs, scale)).astype(np.float32)
    return Rung(model, np.ascontiguousarray(backward))


def _spread(maps: Sequence[np.ndarray], elements: int) -> List[int]:
    """Which maps, evenly, have about so many elements together."""
    count = min(len(maps), max(1, elements // maps[0].size))
    return [int(index) for index in np.linspace(0, len(maps) - 1, count).round()]


def _least_squares(rounded: Sequence[np.ndarray], components: Sequence[np.ndarray], scale: np.float32) -> np.ndarray:
    """float64 [K, len(TAPS) * K]: scaled components from the integers around them, drawn to the integers themselves."""
    size = len(rounded[0])
    normal, target = np.zeros((len(TAPS) * size, len(TAPS) * size)), np.zeros((len(TAPS) * size, size))
    for integers, values in zip(rounded, components):
        taps = around(integers.astype(np.float32)).reshape(len(TAPS) * size, -1)
        normal += taps @ taps.T
        target += taps @ (values.reshape(size, -1) * scale).T
    normal[np.diag_indices(len(normal))] += BACKWARD_RIDGE
    target[np.arange(size), np.arange(size)] += BACKWARD_RIDGE
    return np.asarray(np.linalg.solve(normal, target).T)
