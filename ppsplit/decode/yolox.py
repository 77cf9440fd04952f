"""YOLOX's output to detections (Ge and others, "YOLOX: Exceeding YOLO Series in 2021", section 2.1).

A row for each cell, the levels behind one another, holds x, y, w, h, objectness and the classes, the latter after their
sigmoid. In cell (i, j) of a level of stride s:
    centre = ((j, i) + (x, y)) * s        size = exp(w, h) * s        score of class c = objectness * class c
A model exported with the decoding inside returns centre and size at once. NMS is class by class.
"""

from __future__ import annotations

from typing import List, Sequence, Tuple

import numpy as np

from ppsplit.decode.decoder import BoxDecoder, Thresholds
from ppsplit.decode.heads import MAX_LOG_SIZE, Outputs, best_candidates, checked_heads, grid
from ppsplit.detections import Detections, class_wise_nms


class YoloXDecoder(BoxDecoder):
    """Decoder for one input size. Immutable, so threads may share it.

    Args:
        input_hw: the network's input, in pixels.
        num_classes: C.
        strides: of each level, input pixels per cell.
        in_pixels: the graph returns centre and size in pixels; else in cells, as it is exported by default.
        score_threshold, nms_iou_threshold, max_detections: as of `BoxDecoder`.

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
        super().__init__(score_threshold, nms_iou_threshold, max_detections)
        if not strides or min(strides) < 1 or num_classes < 1:
            raise ValueError(f"strides {strides} and num_classes {num_classes} are no head of YOLOX")
        levels = [(input_hw[0] // stride, input_hw[1] // stride) for stride in strides]
        self.in_pixels = in_pixels
        self.cells = np.concatenate([grid(*hw) for hw in levels])
        self.strides = np.repeat(np.array(strides, np.float32), [h * w for h, w in levels])[:, None]
        self.shape = (len(self.cells), 5 + num_classes)

    def decode(self, outputs: Outputs, thresholds: Thresholds) -> List[Detections]:
        """Of one float [N, cells, 5 + C]."""
        (rows,) = checked_heads(outputs, [self.shape])
        found = []
        for image in rows:
            cells = np.flatnonzero(image[:, 4] > thresholds.score)  # a class cannot raise a score above its objectness
            scores = image[cells, 4:5] * image[cells, 5:]
            candidates = best_candidates(self._boxes(image[cells, :4], cells), scores, thresholds.score)
            found.append(class_wise_nms(candidates, thresholds.iou, thresholds.max_detections))
        return found

    def _boxes(self, values: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Boxes float32 [M, 4] of x, y, w, h [M, 4] in these cells."""
        centre, size = values[:, :2], values[:, 2:]
        if not self.in_pixels:
            centre = (self.cells[cells] + centre) * self.strides[cells]
            size = np.exp(np.minimum(size, MAX_LOG_SIZE)) * self.strides[cells]
        return np.concatenate([centre - size / 2, centre + size / 2], axis=1).astype(np.float32)
