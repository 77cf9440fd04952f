"""A classifier's output to its likeliest classes."""

from __future__ import annotations

from typing import List, Mapping, Optional, Tuple

import numpy as np

from ppsplit.classification import Classification
from ppsplit.decode.heads import Outputs
from ppsplit.errors import InferenceRuntimeError


class Classifier:
    """Decoder of one output [N, C]. Immutable, so threads may share it.

    Args:
        input_hw: plays no part; every decoder is given it.
        num_classes: C.
        softmax: the network returns logits; else probabilities.
        score_threshold: classes below are not told; where a call does not give its own.
        max_detections: how many classes are told, likewise.

    Raises:
        ValueError: no class, or none to tell.
    """

    def __init__(
        self,
        input_hw: Tuple[int, int],
        num_classes: int,
        softmax: bool,
        score_threshold: float = 0.0,
        max_detections: int = 5,
    ) -> None:
        if num_classes < 1 or max_detections < 1:
            raise ValueError(f"num_classes and max_detections must be 1 or more, not {num_classes}, {max_detections}")
        self.num_classes, self.softmax = num_classes, softmax
        self.score_threshold, self.max_detections = score_threshold, max_detections

    def __call__(
        self,
        outputs: Outputs,
        score_threshold: Optional[float] = None,
        iou_threshold: Optional[float] = None,
        max_detections: Optional[int] = None,
    ) -> List[Classification]:
        """Decode a batch.

        Args:
            outputs: one array, float [N, C] or [N, C, 1, 1].
            score_threshold: classes below are not told.
            iou_threshold: plays no part: classes do not overlap.
            max_detections: how many classes of an image are told.

        Returns:
            N classifications, best class first; of equal scores the smaller class id.

        Raises:
            InferenceRuntimeError: another number of outputs or classes, or values that are not finite.
        """
        least = self.score_threshold if score_threshold is None else score_threshold
        count = self.max_detections if max_detections is None else max_detections
        scores = self._scores(list(outputs.values()) if isinstance(outputs, Mapping) else list(outputs))
        found = []
        for row in scores:
            best = np.argsort(-row, kind="stable")[:count]
            best = best[row[best] >= least]
            found.append(Classification(best.astype(np.int64), row[best]))
        return found

    def _scores(self, arrays: List[np.ndarray]) -> np.ndarray:
        """float32 [N, C]."""
        shapes = [array.shape for array in arrays]
        if len(arrays) != 1 or shapes[0][1:] not in ((self.num_classes,), (self.num_classes, 1, 1)):
            raise InferenceRuntimeError(
                f"the outputs have shapes {shapes}, one of [N, {self.num_classes}] was expected; the decode parameters "
                "must belong to the network"
            )
        values = arrays[0].reshape(len(arrays[0]), self.num_classes).astype(np.float64)
        if not np.isfinite(values).all():
            raise InferenceRuntimeError("the output holds values that are not finite; certify the bundle's programs")
        return (softmax(values) if self.softmax else values).astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """exp(x) over its sum along the last axis, without overflow."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
