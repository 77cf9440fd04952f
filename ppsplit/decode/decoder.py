"""What every decoder of boxes does in the same way: its thresholds, NMS, and how it is called."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import List, Optional

from ppsplit.decode.heads import Outputs
from ppsplit.detections import Detections


@dataclass(frozen=True)
class Thresholds:
    """What of the candidates is told.

    Attributes:
        score: a score must be above it.
        iou: of NMS.
        max_detections: per image, over all classes.
    """

    score: float
    iou: float
    max_detections: int


class BoxDecoder(ABC):
    """Raw outputs to boxes, for one input size. Immutable, so threads may share it.

    Args:
        score_threshold, nms_iou_threshold, max_detections: used where a call does not give its own.
    """

    def __init__(self, score_threshold: float, nms_iou_threshold: float, max_detections: int) -> None:
        self.thresholds = Thresholds(score_threshold, nms_iou_threshold, max_detections)

    def __call__(
        self,
        outputs: Outputs,
        score_threshold: Optional[float] = None,
        iou_threshold: Optional[float] = None,
        max_detections: Optional[int] = None,
    ) -> List[Detections]:
        """Decode a batch.

        Args:
            outputs: float arrays, the batch in front; which ones, `decode` of the family says.
            score_threshold: scores must be above it.
            iou_threshold: of NMS.
            max_detections: per image, over all classes.

        Returns:
            N Detections, boxes in input pixels; masks, where the family makes them, of the input's size.

        Raises:
            InferenceRuntimeError: wrong number or shapes of outputs, or values that are not finite.
        """
        usual = self.thresholds
        return self.decode(
            outputs,
            Thresholds(
                usual.score if score_threshold is None else score_threshold,
                usual.iou if iou_threshold is None else iou_threshold,
                usual.max_detections if max_detections is None else max_detections,
            ),
        )

    @abstractmethod
    def decode(self, outputs: Outputs, thresholds: Thresholds) -> List[Detections]:
        """As a call, with all thresholds given."""
