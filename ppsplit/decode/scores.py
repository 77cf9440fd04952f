"""The class scores inside raw outputs, before any threshold; for those who compare networks, not boxes."""

from __future__ import annotations

from typing import Callable, Dict, List, Mapping, NamedTuple, Optional

import numpy as np

from ppsplit.bundle import DecodeSpec
from ppsplit.decode.sigmoid import sigmoid
from ppsplit.decode.yolov8 import EXPORTED, MAPS
from ppsplit.errors import InferenceRuntimeError


class RawScores(NamedTuple):
    """Views of one raw output: what is written to them is written to the output.

    Attributes:
        objectness: [N, A, 1, cells], None where the family has none.
        classes: [N, A, C, cells].
        are_logits: False where the graph has its sigmoid inside, so that these are scores already.
    """

    objectness: Optional[np.ndarray]
    classes: np.ndarray
    are_logits: bool

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """What logits or scores of this output mean, float64 of the same shape."""
        wide = values.astype(np.float64)
        return sigmoid(wide) if self.are_logits else wide


def raw_scores(outputs: Mapping[str, np.ndarray], spec: DecodeSpec) -> List[RawScores]:
    """Where in raw outputs the scores lie, one entry for each output that holds some.

    Raises:
        InferenceRuntimeError: nothing is known of the scores of this family, or the outputs are not its own.
    """
    if spec.family not in _FAMILIES:
        raise InferenceRuntimeError(
            f"nothing is known of the scores of the family {spec.family!r}; known: {', '.join(_FAMILIES)}"
        )
    try:
        return _FAMILIES[spec.family](outputs, spec)
    except (KeyError, ValueError, IndexError) as error:
        raise InferenceRuntimeError(
            f"the outputs are not those of the family {spec.family!r} ({error}); export the bundle again"
        ) from error


def knows_scores(spec: DecodeSpec) -> bool:
    """Whether `raw_scores` knows the family."""
    return spec.family in _FAMILIES


def class_scores(outputs: Mapping[str, np.ndarray], spec: DecodeSpec) -> np.ndarray:
    """Scores of all anchors, float64 [N, anchors, C]: objectness times class probability where there is objectness.

    Raises:
        InferenceRuntimeError: as `raw_scores`.
    """
    parts = []
    for raw in raw_scores(outputs, spec):
        scores = raw.probabilities(raw.classes)
        if raw.objectness is not None:
            scores *= raw.probabilities(raw.objectness)
        parts.append(np.moveaxis(scores, 2, -1).reshape(len(scores), -1, scores.shape[2]))
    return np.concatenate(parts, axis=1)


def _yolov3(outputs: Mapping[str, np.ndarray], spec: DecodeSpec) -> List[RawScores]:
    found = []
    for output, anchors in zip(outputs.values(), spec.params["masks"]):
        batch, _, height, width = output.shape
        head = output.reshape(batch, len(anchors), 5 + spec.params["num_classes"], height * width)
        found.append(RawScores(head[:, :, 4:5], head[:, :, 5:], True))
    return found


def _yolov8(outputs: Mapping[str, np.ndarray], spec: DecodeSpec) -> List[RawScores]:
    """Of each stride's map the channels behind the boxes' bins, or of an exported graph the rows behind the boxes."""
    classes, masks = spec.params["num_classes"], spec.params.get("mask_channels", 0)
    exported = spec.params.get("layout", MAPS) == EXPORTED
    cells = list(outputs.values())[: -1 if masks else None]  # prototypes come last
    found = []
    for output in cells:
        first = output.shape[1] - masks - classes
        if first < 4:
            raise ValueError(f"{output.shape[1]} channels hold no boxes, {classes} classes and {masks} coefficients")
        flat = output.reshape(len(output), 1, output.shape[1], -1)
        found.append(RawScores(None, flat[:, :, first : first + classes], not exported))
    return found


def _picodet(outputs: Mapping[str, np.ndarray], spec: DecodeSpec) -> List[RawScores]:
    found = []
    for output in list(outputs.values())[: len(spec.params["strides"])]:  # boxes come behind
        if output.ndim != 3 or output.shape[2] != spec.params["num_classes"]:
            raise ValueError(f"shape {output.shape}")
        found.append(RawScores(None, output.swapaxes(1, 2)[:, None], False))
    return found


def _yolox(outputs: Mapping[str, np.ndarray], spec: DecodeSpec) -> List[RawScores]:
    (output,) = outputs.values()
    if output.ndim != 3 or output.shape[2] != 5 + spec.params["num_classes"]:
        raise ValueError(f"shape {output.shape}")
    columns = output.swapaxes(1, 2)[:, None]
    return [RawScores(columns[:, :, 4:5], columns[:, :, 5:], False)]


_FAMILIES: Dict[str, Callable[[Mapping[str, np.ndarray], DecodeSpec], List[RawScores]]] = {
    "picodet": _picodet,
    "yolov3": _yolov3,
    "yolov8": _yolov8,
    "yolox": _yolox,
}
