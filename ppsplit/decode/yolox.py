"""YOLOX's output to detections (Ge and others, "YOLOX: Exceeding YOLO Series in 2021", section 2.1).

A row for each cell, the levels behind one another, holds x, y, w, h, objectness and the classes, the latter after their
sigmoid. In cell (i, j) of a level of stride s:
    centre = ((j, i) + (x, y)) * s        size = exp(w, h) * s        score of class c = objectness * class c
A model exported with the decoding inside returns centre and size at once. NMS is class by class.
"""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import numpy as np

from ppsplit.decode.heads import Outputs, best_candidates, checked_heads, grid
from ppsplit.detections import Detections, class_wise_nms

MAX_LOG_SIZE = 10.0  # exp(10) cells are wider than any image; beyond, areas would overflow float32


class YoloXDecoder:
    """Decoder for one input size. Immutable, so threads may share it.

    Args:
        input_hw: the network's input, in pixels.
        num_classes: C.
        strides: of each level, input pixels per cell.
        in_pixels: the graph returns centre and size in pixels; else in cells, as it is exported by default.
        score_threshold, nms_iou_threshold, max_detections: used where a call does not give its own.

    Raises:
        ValueError: no level.
    """

    def __init__(
        self,
        input_hw: Tuple[int, int],
        num_classes: int,
        strides: Sequence[int],
        in_pixels: bool,
        score_threshold: float,
        nms_iou_threshold: float,
        max_detections: int,
    ) -> None:
        if not strides or min(strides) < 1 or num_classes < 1:
            raise ValueError(f"strides {strides} and num_classes {num_classes} are no head of YOLOX")
        levels = [(input_hw[0] // stride, input_hw[1] // stride) for stride in strides]
        self.in_pixels = in_pixels
        self.score_threshold = score_threshold
        self.iou_threshold = nms_iou_threshold
        self.max_detections = max_detections
        self.cells = np.concatenate([grid(*hw) for hw in levels])
        self.strides = np.repeat(np.array(strides, np.float32), [h * w for h, w in levels])[:, None]
        self.shape = (len(self.cells), 5 + num_classes)

    def __call__(
        self,
        outputs: Outputs,
        score_threshold: Optional[float] = None,
        iou_threshold: Optional[float] = None,
        max_detections: Optional[int] = None,
    ) -> List[Detections]:
        """Decode a batch.

        Args:
            outputs: one array, float [N, cells, 5 + C].
            score_threshold: scores must be above it.
            iou_threshold: of NMS.
            max_detections: per image, over all classes.

        Returns:
            N Detections, boxes in input pixels.

        Raises:
            InferenceRuntimeError: wrong number or shapes of heads, or values that are not finite.
        """
        score_threshold = self.score_threshold if score_threshold is None else score_threshold
        iou_threshold = self.iou_threshold if iou_threshold is None else iou_threshold
        max_detections = self.max_detections if max_detections is None else max_detections
        (rows,) = checked_heads(outputs, [self.shape])
        found = []
        for image in rows:
            cells = np.flatnonzero(image[:, 4] > score_threshold)  # a class cannot raise a score above its objectness
            scores = image[cells, 4:5] * image[cells, 5:]
            candidates = best_candidates(self._boxes(image[cells, :4], cells), scores, score_threshold)
            found.append(class_wise_nms(candidates, iou_threshold, max_detections))
        return found

    def _boxes(self, values: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Boxes float32 [M, 4] of x, y, w, h [M, 4] in these cells."""
        centre, size = values[:, :2], values[:, 2:]
        if not self.in_pixels:
            centre = (self.cells[cells] + centre) * self.strides[cells]
            size = np.exp(np.minimum(size, MAX_LOG_SIZE)) * self.strides[cells]
        return np.concatenate([centre - size / 2, centre + size / 2], axis=1).astype(np.float32)
