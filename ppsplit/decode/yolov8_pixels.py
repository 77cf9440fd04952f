"""The one output of YOLOv8 and YOLO11 as Ultralytics exports them to ONNX, decoding inside, to detections.

A column for each cell holds the box's centre and size in input pixels and a score for each class, after its sigmoid.
A box counts for its best class only, as there. NMS is class by class.
"""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import numpy as np

from ppsplit.decode.heads import Outputs, best_candidates, checked_heads
from ppsplit.detections import Detections, class_wise_nms


class YoloV8PixelsDecoder:
    """Decoder for one input size. Immutable, so threads may share it.

    Args:
        input_hw: the network's input, in pixels.
        num_classes: C.
        strides: of each level, input pixels per cell.
        score_threshold, nms_iou_threshold, max_detections: used where a call does not give its own.

    Raises:
        ValueError: no level.
    """

    def __init__(
        self,
        input_hw: Tuple[int, int],
        num_classes: int,
        strides: Sequence[int],
        score_threshold: float,
        nms_iou_threshold: float,
        max_detections: int,
    ) -> None:
        if not strides or min(strides) < 1 or num_classes < 1:
            raise ValueError(f"strides {strides} and num_classes {num_classes} are no head of YOLOv8")
        cells = sum((input_hw[0] // stride) * (input_hw[1] // stride) for stride in strides)
        self.shape = (4 + num_classes, cells)
        self.score_threshold = score_threshold
        self.iou_threshold = nms_iou_threshold
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
            outputs: one array, float [N, 4 + C, cells].
            score_threshold: scores must be above it.
            iou_threshold: of NMS.
            max_detections: per image, over all classes.

        Returns:
            N Detections, boxes in input pixels.

        Raises:
            InferenceRuntimeError: wrong number or shape of outputs, or values that are not finite.
        """
        score_threshold = self.score_threshold if score_threshold is None else score_threshold
        iou_threshold = self.iou_threshold if iou_threshold is None else iou_threshold
        max_detections = self.max_detections if max_detections is None else max_detections
        (columns,) = checked_heads(outputs, [self.shape])
        found = []
        for image in columns:
            rows = image[:, image[4:].max(axis=0) > score_threshold].T
            best = rows[:, 4:] * (np.arange(rows.shape[1] - 4) == rows[:, 4:].argmax(axis=1)[:, None])
            boxes = np.concatenate([rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2], axis=1)
            candidates = best_candidates(boxes, best, score_threshold)
            found.append(class_wise_nms(candidates, iou_threshold, max_detections))
        return found
