"""The class scores inside raw outputs, before any threshold; for those who compare networks, not boxes."""

from __future__ import annotations

from typing import Callable, Dict, List, Mapping, NamedTuple, Optional

import numpy as np

from ppsplit.bundle import DecodeSpec
from ppsplit.decode.yolov3 import sigmoid
from ppsplit.errors import InferenceRuntimeError


class ScoreLogits(NamedTuple):
    """Views of one raw output: what is written to them is written to the output.

    Attributes:
        objectness: [N, A, 1, cells], None where the family has none.
        classes: [N, A, C, cells].
    """

    objectness: Optional[np.ndarray]
    classes: np.ndarray


def score_logits(outputs: Mapping[str, np.ndarray], spec: DecodeSpec) -> List[ScoreLogits]:
    """Where in raw outputs the logits of the scores lie, one entry for each output that holds some.

    Raises:
        InferenceRuntimeError: nothing is known of the scores of this family, or the outputs are not its own.
    """
    if spec.family not in _FAMILIES:
        raise InferenceRuntimeError(
            f"nothing is known of the scores of the family {spec.family!r}; known: {', '.join(_FAMILIES)}"
        )
    try:
        return _FAMILIES[spec.family](outputs, spec)
    except (KeyError, ValueError) as error:
        raise InferenceRuntimeError(
            f"the outputs are not those of the family {spec.family!r} ({error}); export the bundle again"
        ) from error


def knows_scores(spec: DecodeSpec) -> bool:
    """Whether `score_logits` knows the family."""
    return spec.family in _FAMILIES


def class_scores(outputs: Mapping[str, np.ndarray], spec: DecodeSpec) -> np.ndarray:
    """Scores of all anchors, float64 [N, anchors, C]: objectness times class probability where there is objectness.

    Raises:
        InferenceRuntimeError: as `score_logits`.
    """
    parts = []
    for objectness, classes in score_logits(outputs, spec):
        scores = sigmoid(classes.astype(np.float64))
        if objectness is not None:
            scores *= sigmoid(objectness.astype(np.float64))
        parts.append(np.moveaxis(scores, 2, -1).reshape(len(scores), -1, scores.shape[2]))
    return np.concatenate(parts, axis=1)


def _yolov3(outputs: Mapping[str, np.ndarray], spec: DecodeSpec) -> List[ScoreLogits]:
    found = []
    for output, anchors in zip(outputs.values(), spec.params["masks"]):
        batch, _, height, width = output.shape
        head = output.reshape(batch, len(anchors), 5 + spec.params["num_classes"], height * width)
        found.append(ScoreLogits(head[:, :, 4:5], head[:, :, 5:]))
    return found


_FAMILIES: Dict[str, Callable[[Mapping[str, np.ndarray], DecodeSpec], List[ScoreLogits]]] = {"yolov3": _yolov3}
