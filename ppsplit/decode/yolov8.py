"""Raw outputs of YOLOv8 and YOLO11 to detections, with Ultralytics' meaning.

In cell (i, j) of a map of stride s, a side's distance is the mean of a distribution over 0, 1, ..., 15 cells (Li et
al., "Generalized Focal Loss", 2020, section 3.2), whose logits the map holds for the left, top, right and bottom side:
    box = ((j, i) + 1/2 -+ distances) * s        score of class c = sigmoid(t_c)
A box counts once for every class whose score is above the threshold; NMS is class by class.
"""

from __future__ import annotations

from typing import List, NamedTuple, Sequence, Tuple

import numpy as np

from ppsplit.decode.decoder import BoxDecoder, Thresholds
from ppsplit.decode.heads import Outputs, best_index, checked_heads
from ppsplit.decode.prototypes import assemble_masks
from ppsplit.decode.sigmoid import logit, sigmoid
from ppsplit.detections import Detections, class_wise_nms_index

BINS = 16
MAPS, EXPORTED = "maps", "exported"


class Candidates(NamedTuple):
    """(box, class) pairs of one image: boxes float32 [K, 4], scores float32 [K], class ids and coefficients [K, M]."""

    boxes_xyxy: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    coefficients: np.ndarray

    def best(self) -> "Candidates":
        """Those that NMS gets to see."""
        index = best_index(self.scores)
        return Candidates(*(column[index] for column in self))


class YoloV8Decoder(BoxDecoder):
    """Decoder for one input size. Immutable, so threads may share it.

    Args:
        input_hw: the network's input, in pixels.
        num_classes: C.
        mask_channels: M; 0 where there are no masks.
        strides: for each map, input pixels per cell.
        layout: "maps", float [N, 4 * 16 + C + M, H/s, W/s] a stride; or "exported", as Ultralytics' own ONNX export
            has it, one float [N, 4 + C + M, cells]: centre and size in input pixels, then scores. With masks the
            prototypes float [N, M, h, w] come last in either.
        score_threshold, nms_iou_threshold, max_detections: as of `BoxDecoder`.

    Raises:
        ValueError: there is no such layout.
    """

    def __init__(
        self,
        input_hw: Tuple[int, int],
        num_classes: int,
        strides: Sequence[int] = (8, 16, 32),
        score_threshold: float = 0.25,
        nms_iou_threshold: float = 0.7,
        max_detections: int = 300,
        mask_channels: int = 0,
        layout: str = MAPS,
    ) -> None:
        super().__init__(score_threshold, nms_iou_threshold, max_detections)
        if layout not in (MAPS, EXPORTED):
            raise ValueError(f"layout is {layout!r}, expected {MAPS!r} or {EXPORTED!r}")
        self.input_hw, self.num_classes, self.mask_channels, self.layout = input_hw, num_classes, mask_channels, layout
        self.strides = tuple(strides)

    def decode(self, outputs: Outputs, thresholds: Thresholds) -> List[Detections]:
        """Of what `layout` says."""
        tensors = checked_heads(outputs, self._shapes())
        cells, prototypes = (tensors[:-1], tensors[-1]) if self.mask_channels else (tensors, None)
        found = []
        for image in range(len(tensors[0])):
            candidates = self._candidates([part[image] for part in cells], thresholds.score).best()
            objects = Detections(*candidates[:3])
            index = class_wise_nms_index(objects, thresholds.iou, thresholds.max_detections)
            objects = objects.take(index)
            if prototypes is not None:
                coefficients = candidates.coefficients[index]
                masks = assemble_masks(coefficients, prototypes[image], objects.boxes_xyxy, self.input_hw)
                objects = objects.with_masks(masks)
            found.append(objects)
        return found

    def _candidates(self, parts: List[np.ndarray], threshold: float) -> Candidates:
        if self.layout == EXPORTED:
            return self._from_exported(parts[0], threshold)
        columns = zip(*(self._from_map(part, stride, threshold) for part, stride in zip(parts, self.strides)))
        return Candidates(*(np.concatenate(column) for column in columns))

    def _from_map(self, values: np.ndarray, stride: int, threshold: float) -> Candidates:
        """Of one image's map [4 * 16 + C + M, H, W]. A cell's box is worked out only where a class is sure enough."""
        first = 4 * BINS
        logits = values[first : first + self.num_classes]
        class_ids, rows, columns = np.nonzero(logits > logit(threshold))
        sides = values[:first, rows, columns].T.reshape(-1, 4, BINS)
        distances = _mean_of_bins(sides)
        centre = np.stack([columns, rows], axis=1) + np.float32(0.5)
        boxes = np.concatenate([centre - distances[:, :2], centre + distances[:, 2:]], axis=1) * stride
        scores = sigmoid(logits[class_ids, rows, columns])
        coefficients = values[first + self.num_classes :, rows, columns].T
        return Candidates(boxes.astype(np.float32), scores.astype(np.float32), class_ids.astype(np.int64), coefficients)

    def _from_exported(self, values: np.ndarray, threshold: float) -> Candidates:
        """Of one image's rows [4 + C + M, cells]."""
        scores = values[4 : 4 + self.num_classes]
        class_ids, cells = np.nonzero(scores > threshold)
        centre, half = values[:2, cells].T, values[2:4, cells].T / 2
        boxes = np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
        chosen = scores[class_ids, cells].astype(np.float32)
        return Candidates(boxes, chosen, class_ids.astype(np.int64), values[4 + self.num_classes :, cells].T)

    def _shapes(self) -> List[Tuple[int, ...]]:
        """Of one image's outputs; -1 where any size will do."""
        extra = self.num_classes + self.mask_channels
        if self.layout == EXPORTED:
            shapes: List[Tuple[int, ...]] = [(4 + extra, -1)]
        else:
            shapes = [(4 * BINS + extra, self.input_hw[0] // s, self.input_hw[1] // s) for s in self.strides]
        return shapes + ([(self.mask_channels, -1, -1)] if self.mask_channels else [])


def _mean_of_bins(logits: np.ndarray) -> np.ndarray:
    """The expected bin, float [K, 4], of distributions given by logits [K, 4, BINS]."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-np.inf))
    return (weights @ np.arange(BINS, dtype=weights.dtype)) / weights.sum(axis=-1)
