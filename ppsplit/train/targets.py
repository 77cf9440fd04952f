"""Which cell and anchor must find which object (Redmon and Farhadi, 2018, section 2.1). numpy only.

An object belongs to the anchor whose shape is nearest to its own, by IoU with both at the same centre, and to the cell
that its centre lies in, in every head that uses this anchor. As in darknet and PaddleDetection all anchors are asked,
also those that no head uses, as yolov3-tiny's smallest: objects nearest to it are not taught. (Given to the next larger
anchor they were, but four epochs of that on 128 photos took a third of the published weights' AP on small objects.)
Where two objects want the same cell and anchor, the later one has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Sequence, Tuple

import numpy as np

from ppsplit.data.batches import Batch
from ppsplit.models.anchors import AnchorParams

NOWHERE = 0  # the cell of the one row that is always there


@dataclass(frozen=True)
class HeadTargets:
    """What one head must say. Row 0 is no object and weighs nothing, so that no array is ever empty.

    Attributes:
        cells: int64 [P], positions in the head's [N, A, H, W], flat.
        centres: float32 [P, 2], x and y within the cell, 0..1: what sigmoid(t_xy) must be.
        log_sizes: float32 [P, 2], log of width and height over the anchor's: what t_wh must be.
        class_ids: int64 [P].
        weights: float32 [P], of the object.
        scales: float32 [P], 2 - area of the box over that of the input: small boxes count more.
    """

    cells: np.ndarray
    centres: np.ndarray
    log_sizes: np.ndarray
    class_ids: np.ndarray
    weights: np.ndarray
    scales: np.ndarray


def assign_targets(batch: Batch, params: AnchorParams) -> List[HeadTargets]:
    """The targets of each head for a batch."""
    image, slot = np.nonzero(batch.class_ids >= 0)  # neither padding nor a crowd
    boxes = batch.boxes_xyxy[image, slot].astype(np.float64)
    anchors = np.array(params.anchors, np.float64)
    sizes = boxes[:, 2:] - boxes[:, :2]
    nearest = shape_iou(sizes, anchors).argmax(axis=1)
    side_h, side_w = batch.images.shape[2:]
    targets = []
    for mask, stride in zip(params.masks, params.strides):
        mine = np.flatnonzero(np.isin(nearest, mask))
        grid_hw = (side_h // stride, side_w // stride)
        position = np.array([list(mask).index(anchor) for anchor in nearest[mine]], np.int64)
        cells, within = _cells(image[mine], position, boxes[mine], len(mask), stride, grid_hw)
        keep = _last_of_each(cells)
        rows = mine[keep]
        targets.append(
            HeadTargets(
                _with_row(cells[keep], NOWHERE, np.int64),
                _with_row(within[keep], 0.5),
                _with_row(np.log(sizes[rows] / anchors[nearest[rows]]), 0.0),
                _with_row(batch.class_ids[image[rows], slot[rows]], 0, np.int64),
                _with_row(batch.weights[image[rows], slot[rows]], 0.0),
                _with_row(2.0 - sizes[rows].prod(axis=1) / (side_h * side_w), 0.0),
            )
        )
    return targets


def shape_iou(sizes_a: np.ndarray, sizes_b: np.ndarray) -> np.ndarray:
    """IoU float [A, B] of boxes with these widths and heights, float [A, 2] and [B, 2], at the same centre."""
    both = np.minimum(sizes_a[:, None], sizes_b[None]).prod(axis=2)
    return both / (sizes_a.prod(axis=1)[:, None] + sizes_b.prod(axis=1)[None] - both)


def _cells(
    image: np.ndarray, anchor: np.ndarray, boxes: np.ndarray, anchors: int, stride: int, grid_hw: Sequence[int]
) -> Tuple[np.ndarray, np.ndarray]:
    """Flat positions int64 [P] in [N, A, H, W] and the centres within the cells, float [P, 2]."""
    height, width = grid_hw
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 / stride
    column = np.minimum(centre[:, 0].astype(np.int64), width - 1)  # a centre can lie on the last edge
    row = np.minimum(centre[:, 1].astype(np.int64), height - 1)
    cells = ((image * anchors + anchor) * height + row) * width + column
    return cells, centre - np.stack([column, row], axis=1)


def _last_of_each(cells: np.ndarray) -> np.ndarray:
    """Positions of the last occurrence of each value, ascending."""
    _, from_the_end = np.unique(cells[::-1], return_index=True)
    return np.sort(len(cells) - 1 - from_the_end)


def _with_row(values: np.ndarray, first: float, dtype: type = np.float32) -> np.ndarray:
    row: np.ndarray = np.full((1, *values.shape[1:]), first, dtype)
    return np.concatenate([row, values.astype(dtype)])
