"""A classifier's output to detections: each of the best classes is an object as large as the picture."""

from __future__ import annotations

from typing import List, Optional, Tuple

import numpy as np

from ppsplit.decode.heads import Outputs, checked_heads
from ppsplit.detections import Detections


class Classifier:
    """Decoder for one input size. Immutable, so threads may share it.

    Args:
        input_hw: the network's input, in pixels.
        num_classes: C.
        softmax: the graph returns logits; else probabilities.
        score_threshold, max_detections: used where a call does not give its own.

    Raises:
        ValueError: no class.
    """

    def __init__(
        self, input_hw: Tuple[int, int], num_classes: int, softmax: bool, score_threshold: float, max_detections: int
    ) -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}")
        self.box = np.array([[0, 0, input_hw[1], input_hw[0]]], np.float32)
        self.num_classes = num_classes
        self.softmax = softmax
        self.score_threshold = score_threshold
        self.max_detections = max_detections

    def __call__(
        self,
        outputs: Outputs,
        score_threshold: Optional[float] = None,
        iou_threshold: Optional[float] = None,
        max_detections: Optional[int] = None,
    ) -> List[Detections]:
        """Decode a batch.

        Args:
            outputs: one array, float [N, C].
            score_threshold: probabilities must be above it.
            iou_threshold: not used; all boxes are the same one.
            max_detections: how many classes of an image to return.

        Returns:
            N Detections, best class first, boxes as large as the input.

        Raises:
            InferenceRuntimeError: another number of outputs or classes, or values that are not finite.
        """
        score_threshold = self.score_threshold if score_threshold is None else score_threshold
        max_detections = self.max_detections if max_detections is None else max_detections
        (rows,) = checked_heads(outputs, [(self.num_classes,)])
        found = []
        for row in rows:
            scores = _softmax(row) if self.softmax else row
            best = np.argsort(-scores, kind="stable")[:max_detections]
            best = best[scores[best] > score_threshold]
            boxes = np.repeat(self.box, len(best), axis=0)
            found.append(Detections(boxes, scores[best].astype(np.float32), best.astype(np.int64)))
        return found


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()
