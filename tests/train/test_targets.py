"""Assignment against loops that say what it means."""

from __future__ import annotations

from typing import Dict, List, Tuple

import numpy as np
import pytest

from ppsplit.data.batches import NO_CLASS, Batch
from ppsplit.models.yolov3 import YoloV3Params
from ppsplit.models.yolov3_tiny import YoloV3TinyParams
from ppsplit.train.targets import assign_targets, shape_iou


def random_batch(seed: int, images: int = 3, most: int = 12, side: int = 128) -> Batch:
    rng = np.random.default_rng(seed)
    boxes = np.zeros((images, most, 4), np.float32)
    class_ids = np.full((images, most), NO_CLASS, np.int64)
    weights = np.zeros((images, most), np.float32)
    for image in range(images):
        count = int(rng.integers(0, most + 1))
        corners = np.sort(rng.uniform(0, side, (count, 2, 2)), axis=1) + np.array([[0, 0], [1, 1]])
        boxes[image, :count] = np.clip(corners.reshape(count, 4), 0, side)
        class_ids[image, :count] = rng.integers(0, 5, count)
        weights[image, :count] = rng.uniform(0.1, 1, count)
    return Batch(np.zeros((images, 3, side, side), np.float32), boxes, class_ids, weights)


def by_brute_force(batch: Batch, params: YoloV3TinyParams) -> List[Dict[int, Tuple]]:
    """For each head, flat cell to (centre x, centre y, log w, log h, class, weight, scale)."""
    side = batch.images.shape[2]
    heads: List[Dict[int, Tuple]] = [{} for _ in params.masks]
    for image in range(len(batch.images)):
        for slot in range(batch.class_ids.shape[1]):
            if batch.class_ids[image, slot] == NO_CLASS:
                continue
            x1, y1, x2, y2 = (float(v) for v in batch.boxes_xyxy[image, slot])
            w, h = x2 - x1, y2 - y1
            overlaps = []
            for aw, ah in params.anchors:
                both = min(w, aw) * min(h, ah)
                overlaps.append(both / (w * h + aw * ah - both))
            nearest = overlaps.index(max(overlaps))
            for head, (mask, stride) in enumerate(zip(params.masks, params.strides)):
                if nearest not in mask:
                    continue
                cells = side // stride
                cx, cy = (x1 + x2) / 2 / stride, (y1 + y2) / 2 / stride
                column, row = min(int(cx), cells - 1), min(int(cy), cells - 1)
                flat = ((image * len(mask) + mask.index(nearest)) * cells + row) * cells + column
                aw, ah = params.anchors[nearest]
                heads[head][flat] = (
                    *(cx - column, cy - row, np.log(w / aw), np.log(h / ah)),
                    *(batch.class_ids[image, slot], batch.weights[image, slot], 2 - w * h / side**2),
                )
    return heads


@pytest.mark.parametrize("params", [YoloV3TinyParams(num_classes=5), YoloV3Params(num_classes=5)])
@pytest.mark.parametrize("seed", range(8))
def test_against_brute_force(params: YoloV3TinyParams, seed: int) -> None:
    batch = random_batch(seed)
    for targets, expected in zip(assign_targets(batch, params), by_brute_force(batch, params)):
        assert sorted(targets.cells[1:]) == sorted(expected)
        columns = (targets.centres, targets.log_sizes, targets.class_ids, targets.weights, targets.scales)
        table = np.concatenate([c.reshape(len(targets.cells), -1) for c in columns], axis=1)
        for cell, row in zip(targets.cells[1:], table[1:]):
            np.testing.assert_allclose(row, expected[cell], rtol=1e-5, atol=1e-5)


def test_no_object_leaves_one_row_that_weighs_nothing() -> None:
    batch = random_batch(0, most=1)
    empty = Batch(batch.images, batch.boxes_xyxy * 0, np.full_like(batch.class_ids, NO_CLASS), batch.weights * 0)
    for targets in assign_targets(empty, YoloV3TinyParams()):
        assert len(targets.cells) == 1 and targets.weights.tolist() == [0] and targets.scales.tolist() == [0]


def test_an_anchor_of_two_heads_teaches_both() -> None:
    box = np.array([[[20, 20, 101, 102]]], np.float32)  # 81 by 82, which both heads of yolov3-tiny have
    batch = Batch(np.zeros((1, 3, 128, 128), np.float32), box, np.zeros((1, 1), np.int64), np.ones((1, 1), np.float32))
    assert [len(targets.cells) for targets in assign_targets(batch, YoloV3TinyParams())] == [2, 2]


def test_a_centre_on_the_last_edge_is_in_the_last_cell() -> None:
    box = np.array([[[127.999999, 127.999999, 128, 128]]], np.float32)
    box[..., :2] = 128 - 1e-5
    batch = Batch(np.zeros((1, 3, 128, 128), np.float32), box, np.zeros((1, 1), np.int64), np.ones((1, 1), np.float32))
    fine = assign_targets(batch, YoloV3Params())[2]
    assert fine.cells[1] % 256 == 255


def test_shape_iou() -> None:
    sizes = np.array([[10.0, 10], [20, 5]])
    np.testing.assert_allclose(shape_iou(sizes, sizes), [[1, 1 / 3], [1 / 3, 1]])
