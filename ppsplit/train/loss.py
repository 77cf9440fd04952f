"""YOLOv3's loss (Redmon and Farhadi, 2018) with what PaddleDetection's training adds to it.

Per object: binary cross-entropy of the centre within its cell, L1 of the log size, both times 2 - area; binary
cross-entropy of objectness and of each class, with smoothed labels. Per cell without an object: objectness 0, unless
its box already overlaps some object by more than the ignore threshold, or lies within a crowd by more than that. All
are sums over an image and means over images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Sequence

import numpy as np

from ppsplit.data.batches import Batch
from ppsplit.data.training_set import CROWD_CLASS
from ppsplit.decode.heads import MAX_LOG_SIZE
from ppsplit.models.anchors import AnchorParams
from ppsplit.paddle_first import paddle
from ppsplit.train.targets import HeadTargets, assign_targets

PARTS = ("xy", "wh", "objectness", "class")
MOST_SMOOTHING = 1 / 40


@dataclass(frozen=True)
class YoloV3Loss:
    """The loss of a network with these parameters.

    Attributes:
        params: the network's.
        ignore_threshold: IoU above which a box without an object of its own is not told that it is wrong.
        label_smoothing: whether class targets are moved from 0 and 1 by min(1 / C, 1 / 40).
    """

    params: AnchorParams
    ignore_threshold: float = 0.7
    label_smoothing: bool = True

    def __call__(self, heads: Sequence[paddle.Tensor], batch: Batch) -> Dict[str, paddle.Tensor]:
        """The parts of the loss, which are summed to learn.

        Args:
            heads: raw, [N, A * (5 + C), H, W] each.
            batch: what the network saw, and what is in it.

        Returns:
            a scalar for each of `PARTS`.
        """
        boxes = paddle.to_tensor(batch.boxes_xyxy)
        crowds = paddle.to_tensor(batch.class_ids == CROWD_CLASS)
        sums: Dict[str, List[paddle.Tensor]] = {part: [] for part in PARTS}
        for number, (head, targets) in enumerate(zip(heads, assign_targets(batch, self.params))):
            for part, value in self._of_head(number, head.astype("float32"), targets, boxes, crowds).items():
                sums[part].append(value)
        return {part: paddle.add_n(values) / len(batch.images) for part, values in sums.items()}

    def _of_head(
        self, number: int, head: paddle.Tensor, targets: HeadTargets, boxes: paddle.Tensor, crowds: paddle.Tensor
    ) -> Dict[str, paddle.Tensor]:
        n, _, height, width = head.shape
        mask, stride = self.params.masks[number], self.params.strides[number]
        values = head.reshape([n, len(mask), -1, height, width]).transpose([0, 1, 3, 4, 2])  # [N, A, H, W, 5 + C]
        flat = values.reshape([-1, values.shape[-1]])
        found = paddle.gather(flat, paddle.to_tensor(targets.cells))  # [P, 5 + C]
        weights = paddle.to_tensor(targets.weights)
        box_weights = (weights * paddle.to_tensor(targets.scales)).unsqueeze(1)
        labels = paddle.to_tensor(self._class_targets(targets.class_ids))
        return {
            "xy": (_cross_entropy(found[:, 0:2], paddle.to_tensor(targets.centres)) * box_weights).sum(),
            "wh": ((found[:, 2:4] - paddle.to_tensor(targets.log_sizes)).abs() * box_weights).sum(),
            "objectness": self._objectness(
                values[..., 4], targets, _best_overlap(self._decoded(values.detach(), mask, stride), boxes, crowds)
            ),
            "class": (_cross_entropy(found[:, 5:], labels) * weights.unsqueeze(1)).sum(),
        }

    def _class_targets(self, class_ids: np.ndarray) -> np.ndarray:
        """float32 [P, C]."""
        classes = self.params.num_classes
        delta = min(1 / classes, MOST_SMOOTHING) if self.label_smoothing else 0.0
        labels = np.full((len(class_ids), classes), delta, np.float32)
        labels[np.arange(len(class_ids)), class_ids] = 1 - delta
        return labels

    def _objectness(self, logits: paddle.Tensor, targets: HeadTargets, overlap: paddle.Tensor) -> paddle.Tensor:
        """Of logits [N, A, H, W] whose boxes overlap the objects by [N, A * H * W]."""
        size = int(np.prod(logits.shape))
        is_object, weights = np.zeros(size, np.float32), np.zeros(size, np.float32)
        is_object[targets.cells[1:]] = 1.0
        weights[targets.cells[1:]] = targets.weights[1:]
        learns = (overlap.reshape(logits.shape) <= self.ignore_threshold).astype("float32")
        objects = paddle.to_tensor(is_object.reshape(logits.shape))
        per_cell = paddle.where(objects > 0, paddle.to_tensor(weights.reshape(logits.shape)), learns)
        return (_cross_entropy(logits, objects) * per_cell).sum()

    def _decoded(self, values: paddle.Tensor, mask: Sequence[int], stride: int) -> paddle.Tensor:
        """The boxes float32 [N, A * H * W, 4] (x1, y1, x2, y2 in input pixels) that a head proposes."""
        n, _, height, width, _ = values.shape
        rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
        corner = paddle.to_tensor(np.stack([columns, rows], axis=-1).astype(np.float32))  # [H, W, 2]
        anchors = np.array([self.params.anchors[i] for i in mask], np.float32).reshape(1, -1, 1, 1, 2)
        centre = (paddle.nn.functional.sigmoid(values[..., 0:2]) + corner) * stride
        half = paddle.exp(paddle.clip(values[..., 2:4], max=MAX_LOG_SIZE)) * paddle.to_tensor(anchors) / 2
        return paddle.concat([centre - half, centre + half], axis=-1).reshape([n, -1, 4])


def _cross_entropy(logits: paddle.Tensor, targets: paddle.Tensor) -> paddle.Tensor:
    return paddle.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")


@paddle.no_grad()
def _best_overlap(proposed: paddle.Tensor, objects: paddle.Tensor, crowds: paddle.Tensor) -> paddle.Tensor:
    """The largest overlap of each proposed box with anything.

    Args:
        proposed: float32 [N, K, 4].
        objects: float32 [N, M, 4]; zeros are no object.
        crowds: bool [N, M].

    Returns:
        float32 [N, K]: IoU with an object, the share of the proposed box that lies within a crowd.
    """
    proposed, objects = proposed.unsqueeze(2), objects.unsqueeze(1)
    top_left = paddle.maximum(proposed[..., :2], objects[..., :2])
    bottom_right = paddle.minimum(proposed[..., 2:], objects[..., 2:])
    both = paddle.clip(bottom_right - top_left, min=0).prod(axis=-1)
    area, object_area = ((boxes[..., 2:] - boxes[..., :2]).prod(axis=-1) for boxes in (proposed, objects))
    outside = (object_area - both) * (1 - crowds.unsqueeze(1).astype("float32"))
    return (both / paddle.clip(area + outside, min=1e-9)).max(axis=-1)
