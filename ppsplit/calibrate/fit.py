"""Tables of a learned codec from feature maps and the task's gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np

from ppsplit.calibrate.components import weighted_components
from ppsplit.calibrate.entropy import fit_entropy_model
from ppsplit.calibrate.importance import energies_of, fit_worth
from ppsplit.calibrate.observe import Observed
from ppsplit.codec.entropy_model import EntropyModel
from ppsplit.codec.importance import ONE, worth_of
from ppsplit.codec.learned import TRADE
from ppsplit.codec.tables import FeatureTables, Rung, TensorTables, scale_of
from ppsplit.codec.transform import TAPS, around, to_components
from ppsplit.codec.wavefront import LARGEST, encode_components
from ppsplit.errors import CalibrationError

QUALITIES = (18, 26, 34, 42, 50, 58, 66, 82)  # of the rungs: an octave apart or half of one
MIDDLE_STEP = 0.22  # of the largest component's standard deviation
# Of maps that a first model, the model, and the way back are fitted to: of yolov3-tiny 24, 128 and 256.
FIRST_ELEMENTS = 2_100_000
MODEL_ELEMENTS, BACKWARD_ELEMENTS = 11_100_000, 22_200_000
LEAST_SHARE = 1e-4  # of a component's integers that are not 0; those behind the last such component are not sent
BACKWARD_RIDGE = 30.0  # in samples of a component at the least integer
Progress = Callable[[str, int, int], None]


@dataclass
class _Photo:
    components: np.ndarray  # float32 [K, H, W], in units of the middle quality's step
    worth: np.ndarray  # int32 [H, W]


def fit_tables(observed: Mapping[str, Observed], progress: Progress) -> FeatureTables:
    """Tables for all tensors of a cut, with one step for all.

    Args:
        observed: of each tensor, by name.
        progress: called with what comes, its number and how many there are.

    Raises:
        CalibrationError: nothing varies or matters.
    """
    moments = {name: _moments(of.maps) for name, of in observed.items()}
    spaces = {name: weighted_components(moments[name][1], of.importance) for name, of in observed.items()}
    step = MIDDLE_STEP * np.sqrt(max(float(variances[0]) for _, variances in spaces.values()))
    total = len(observed) * len(QUALITIES)
    tensors: Dict[str, TensorTables] = {}
    for name, of in observed.items():
        mean, forward = moments[name][0].astype(np.float32), np.ascontiguousarray(spaces[name][0] / step, np.float32)
        components = [to_components(values, mean, forward) for values in of.maps]
        inverse = np.linalg.inv(forward.astype(np.float64))
        worth = fit_worth(components, energies_of(of.gradients, inverse))
        photos = [_Photo(values, worth_of(values, worth)) for values in components]
        rungs: List[Rung] = []
        for quality in QUALITIES:
            progress(f"quality {quality}", len(tensors) * len(QUALITIES) + len(rungs) + 1, total)
            rungs.append(_rung(photos, inverse, quality))
        tensors[name] = TensorTables(mean, forward, worth, tuple(rungs))
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


def _rung(photos: Sequence[_Photo], inverse: np.ndarray, quality: int) -> Rung:
    scale = np.float32(scale_of(quality))  # as the encoder does
    few, some = (_spread(photos, elements) for elements in (FIRST_ELEMENTS, MODEL_ELEMENTS))
    clipped = (np.clip(photo.components * scale, -LARGEST, LARGEST) for photo in few)
    model = fit_entropy_model([np.rint(values).astype(np.int32) for values in clipped])
    for looked_at in (few, some):  # integers are chosen by a model, and a model is fitted to what was chosen
        chosen = [_chosen(photo, scale, model) for photo in looked_at]
        sent = _components_sent(chosen)
        model = fit_entropy_model([values[:sent] for values in chosen])
    backward = (inverse @ _least_squares(_spread(photos, BACKWARD_ELEMENTS), scale, model)).astype(np.float32)
    return Rung(model, np.ascontiguousarray(backward))


def _chosen(photo: _Photo, scale: np.float32, model: EntropyModel) -> np.ndarray:
    """The integers that the encoder would send."""
    return encode_components(photo.components[: model.channels] * scale, photo.worth, TRADE, model)[1]


def _components_sent(chosen: Sequence[np.ndarray]) -> int:
    shares = np.mean([(values != 0).mean(axis=(1, 2)) for values in chosen], axis=0)
    return 1 + int(np.flatnonzero(shares > LEAST_SHARE).max(initial=0))


def _spread(photos: Sequence[_Photo], elements: int) -> List[_Photo]:
    """Evenly, photos that have about so many elements together."""
    count = min(len(photos), max(1, elements // photos[0].components.size))
    return [photos[int(index)] for index in np.linspace(0, len(photos) - 1, count).round()]


def _least_squares(photos: Sequence[_Photo], scale: np.float32, model: EntropyModel) -> np.ndarray:
    """float64 [K, len(TAPS) * sent]: scaled components from the integers around them, drawn to the integers themselves.

    Errors count as much as the encoder counts them.
    """
    size, sent = len(photos[0].components), model.channels
    normal, target = np.zeros((len(TAPS) * sent, len(TAPS) * sent)), np.zeros((len(TAPS) * sent, size))
    for photo in photos:
        root = np.sqrt(photo.worth.astype(np.float32) / ONE)
        taps = (around(_chosen(photo, scale, model).astype(np.float32)) * root).reshape(len(TAPS) * sent, -1)
        normal += taps @ taps.T
        target += taps @ (photo.components * (root * scale)).reshape(size, -1).T
    normal[np.diag_indices(len(normal))] += BACKWARD_RIDGE
    target[np.arange(sent), np.arange(sent)] += BACKWARD_RIDGE
    return np.asarray(np.linalg.solve(normal, target).T)
