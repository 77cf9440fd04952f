"""YOLOv3's raw heads to detections, with darknet's meaning (Redmon and Farhadi, 2018, figure 2).

In cell (i, j) of a head of stride s, for an anchor of (w, h) pixels and raw values t:
    centre = ((j, i) + sigmoid(t_xy)) * s        size = (w, h) * exp(t_wh)
    score of class c = sigmoid(t_objectness) * sigmoid(t_c)
A box counts once for every class whose score is strictly above the threshold; NMS is class by class.
"""

from __future__ import annotations

from typing import List, Mapping, Sequence, Tuple

import numpy as np

from ppsplit.decode.decoder import BoxDecoder, Thresholds
from ppsplit.decode.heads import MAX_LOG_SIZE, Outputs, best_index
from ppsplit.decode.sigmoid import sigmoid
from ppsplit.detections import Detections, class_wise_nms
from ppsplit.errors import InferenceRuntimeError


class YoloV3Decoder(BoxDecoder):
    """Decoder for one input size. Immutable, so threads may share it.

    Args:
        input_hw: the network's input, in pixels.
        num_classes: C.
        anchors: [n][2], width and height in input pixels.
        masks: for each head, the anchors it uses.
        strides: for each head, input pixels per cell.
        score_threshold, nms_iou_threshold, max_detections: as of `BoxDecoder`.

    Raises:
        ValueError: masks, strides and anchors do not fit together.
    """

    def __init__(
        self,
        input_hw: Tuple[int, int],
        num_classes: int,
        anchors: Sequence[Sequence[float]],
        masks: Sequence[Sequence[int]],
        strides: Sequence[int],
        score_threshold: float,
        nms_iou_threshold: float,
        max_detections: int,
    ) -> None:
        super().__init__(score_threshold, nms_iou_threshold, max_detections)
        if len(masks) != len(strides):
            raise ValueError(f"{len(masks)} masks for {len(strides)} strides")
        if any(not 0 <= index < len(anchors) for mask in masks for index in mask):
            raise ValueError(f"masks {masks} name anchors outside 0..{len(anchors) - 1}")
        self.num_classes = num_classes
        self.strides = tuple(strides)
        self.anchors = [np.array([anchors[i] for i in mask], np.float32).reshape(len(mask), 2) for mask in masks]
        self.head_shapes = [
            (len(mask) * (5 + num_classes), input_hw[0] // stride, input_hw[1] // stride)
            for mask, stride in zip(masks, strides)
        ]

    def decode(self, outputs: Outputs, thresholds: Thresholds) -> List[Detections]:
        """Of float [N, A * (5 + C), H, W] a head, in the order of `masks`."""
        heads = self._checked(outputs)
        found = []
        for image in range(len(heads[0])):
            candidates = self._candidates([head[image] for head in heads], thresholds.score)
            found.append(class_wise_nms(candidates, thresholds.iou, thresholds.max_detections))
        return found

    def _checked(self, outputs: Outputs) -> List[np.ndarray]:
        """The heads as [N, A, 5 + C, H, W]."""
        heads = list(outputs.values()) if isinstance(outputs, Mapping) else list(outputs)
        shapes = [tuple(head.shape) for head in heads]
        batch = shapes[0][0] if shapes and shapes[0] else 0
        expected = [(batch, *shape) for shape in self.head_shapes]
        if shapes != expected:
            raise InferenceRuntimeError(
                f"the heads have shapes {shapes}, expected {self.head_shapes} for each image, in this order; "
                "the decode parameters must belong to the network"
            )
        views = [
            head.reshape(batch, len(anchors), 5 + self.num_classes, *head.shape[2:])
            for head, anchors in zip(heads, self.anchors)
        ]
        # a NaN would compare as no detection and pass in silence; here it costs a pass over one value in 85
        if not all(np.isfinite(view[:, :, 4]).all() for view in views):
            raise InferenceRuntimeError("the heads hold values that are not finite; certify the bundle's programs")
        return views

    def _candidates(self, heads: List[np.ndarray], threshold: float) -> Detections:
        """The best `MAX_CANDIDATES` (box, class) pairs of one image above the threshold, in the heads' order."""
        parts = [
            _decode_head(head, anchors, stride, threshold)
            for head, anchors, stride in zip(heads, self.anchors, self.strides)
        ]
        boxes, scores, class_ids = (np.concatenate(column) for column in zip(*parts))
        return Detections(boxes, scores, class_ids).take(best_index(scores))


def _decode_head(
    head: np.ndarray, anchors: np.ndarray, stride: int, threshold: float
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes float32 [M, 4], scores float32 [M] and class ids int64 [M] of head [A, 5 + C, H, W] and anchors [A, 2]."""
    objectness = sigmoid(head[:, 4])
    # a class cannot raise a score above its objectness, so most cells are done here
    anchor, row, column = np.nonzero(objectness > threshold)
    raw = head[anchor, :, row, column].astype(np.float32, copy=False)
    scores = objectness[anchor, row, column][:, None] * sigmoid(raw[:, 5:])
    cell, class_ids = np.nonzero(scores > threshold)
    if not np.isfinite(raw).all():
        raise InferenceRuntimeError("a head holds values that are not finite; certify the bundle's programs")

    centre = (np.stack([column, row], axis=1) + sigmoid(raw[:, :2])) * stride
    half = anchors[anchor] * np.exp(np.minimum(raw[:, 2:4], MAX_LOG_SIZE)) / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
    return boxes[cell], scores[cell, class_ids].astype(np.float32), class_ids.astype(np.int64)
