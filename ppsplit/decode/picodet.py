"""PicoDet's raw heads to detections (Yu and others, "PP-PicoDet", 2021; its box heads are those of Generalized Focal
Loss, Li and others, 2020, section 3.2).

In cell (i, j) of a level of stride s, a side's distance from the cell's centre is the mean of a distribution over
0..B-1, the softmax of its B values, times s:
    centre = ((j, i) + 0.5) * s        box = centre - (left, top), centre + (right, bottom)
A class's score is what the graph returns, after its sigmoid. NMS is class by class.
"""

from __future__ import annotations

from typing import List, Sequence, Tuple

import numpy as np

from ppsplit.decode.decoder import BoxDecoder, Thresholds
from ppsplit.decode.heads import Outputs, best_candidates, checked_heads, grid
from ppsplit.detections import Detections, class_wise_nms


class PicoDetDecoder(BoxDecoder):
    """Decoder for one input size. Immutable, so threads may share it.

    Args:
        input_hw: the network's input, in pixels.
        num_classes: C.
        strides: of each level, input pixels per cell; a level has ceil(size / stride) cells each way.
        bins: B, the values for each side of a box.
        score_threshold, nms_iou_threshold, max_detections: as of `BoxDecoder`.

    Raises:
        ValueError: no level, or too few bins.
    """

    def __init__(
        self,
        input_hw: Tuple[int, int],
        num_classes: int,
        strides: Sequence[int],
        bins: int,
        score_threshold: float,
        nms_iou_threshold: float,
        max_detections: int,
    ) -> None:
        super().__init__(score_threshold, nms_iou_threshold, max_detections)
        if not strides or min(strides) < 1 or bins < 2 or num_classes < 1:
            raise ValueError(f"strides {strides}, bins {bins} and num_classes {num_classes} are no head of PicoDet")
        levels = [(-(-input_hw[0] // stride), -(-input_hw[1] // stride)) for stride in strides]
        self.bins = bins
        self.shapes = [(h * w, num_classes) for h, w in levels] + [(h * w, 4 * bins) for h, w in levels]
        self.centres = np.concatenate([(grid(*hw) + 0.5) * stride for hw, stride in zip(levels, strides)])
        self.strides = np.repeat(np.array(strides, np.float32), [h * w for h, w in levels])

    def decode(self, outputs: Outputs, thresholds: Thresholds) -> List[Detections]:
        """Of float [N, H * W, C] scores of each level, then float [N, H * W, 4 * B] sides: left, top, right, bottom."""
        heads = checked_heads(outputs, self.shapes)
        levels = len(heads) // 2
        scores, sides = (np.concatenate(part, axis=1) for part in (heads[:levels], heads[levels:]))
        found = []
        for image_scores, image_sides in zip(scores, sides):
            cells = np.flatnonzero(image_scores.max(axis=1) > thresholds.score)
            boxes = self._boxes(image_sides[cells], cells)
            candidates = best_candidates(boxes, image_scores[cells], thresholds.score)
            found.append(class_wise_nms(candidates, thresholds.iou, thresholds.max_detections))
        return found

    def _boxes(self, sides: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Boxes float32 [M, 4] of the sides [M, 4 * B] in these cells."""
        values = sides.reshape(len(sides), 4, self.bins).astype(np.float32)
        weights = np.exp(values - values.max(axis=2, keepdims=True))
        bins = np.arange(self.bins, dtype=np.float32)
        distances = (weights @ bins) / weights.sum(axis=2) * self.strides[cells, None]
        centres = self.centres[cells]
        return np.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], axis=1).astype(np.float32)
