"""The loss against plain numpy, and where it must be nothing."""

from __future__ import annotations

from typing import Dict, List

import numpy as np
import pytest

from ppsplit.data.batches import Batch
from ppsplit.data.training_set import CROWD_CLASS
from ppsplit.detections import pairwise_iou
from ppsplit.models.yolov3_tiny import YoloV3TinyParams
from ppsplit.paddle_first import paddle
from ppsplit.train.loss import PARTS, YoloV3Loss
from ppsplit.train.targets import assign_targets

from .test_targets import random_batch

PARAMS = YoloV3TinyParams(num_classes=5)


def random_heads(batch: Batch, seed: int = 0, scale: float = 1.0) -> List[np.ndarray]:
    rng = np.random.default_rng(seed)
    n, _, height, width = batch.images.shape
    return [
        (scale * rng.normal(size=(n, len(mask) * 10, height // s, width // s))).astype(np.float32)
        for mask, s in zip(PARAMS.masks, PARAMS.strides)
    ]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def cross_entropy(logit: float, target: float) -> float:
    p = sigmoid(logit)
    return float(-target * np.log(p) - (1 - target) * np.log(1 - p))


def by_loops(heads: List[np.ndarray], batch: Batch, ignore: float, delta: float) -> Dict[str, float]:
    parts = dict.fromkeys(PARTS, 0.0)
    for head, targets, mask, stride in zip(heads, assign_targets(batch, PARAMS), PARAMS.masks, PARAMS.strides):
        n, _, height, width = head.shape
        view = head.astype(np.float64).reshape(n, len(mask), 10, height, width)
        rows = {int(cell): row for row, cell in enumerate(targets.cells) if row}
        flat = -1
        for image, anchor, row, column in np.ndindex(n, len(mask), height, width):
            flat += 1
            t = view[image, anchor, :, row, column]
            if flat in rows:
                p = rows[flat]
                weight, scale = targets.weights[p], targets.scales[p]
                parts["xy"] += weight * scale * sum(cross_entropy(t[k], targets.centres[p, k]) for k in range(2))
                parts["wh"] += weight * scale * np.abs(t[2:4] - targets.log_sizes[p]).sum()
                parts["objectness"] += weight * cross_entropy(t[4], 1.0)
                for c in range(5):
                    target = 1 - delta if c == targets.class_ids[p] else delta
                    parts["class"] += weight * cross_entropy(t[5 + c], target)
                continue
            centre = (np.array([column, row]) + sigmoid(t[:2])) * stride
            half = np.array(PARAMS.anchors[mask[anchor]]) * np.exp(t[2:4]) / 2
            box = np.concatenate([centre - half, centre + half])
            if pairwise_iou(box[None], batch.boxes_xyxy[image].astype(np.float64)).max() <= ignore:
                parts["objectness"] += cross_entropy(t[4], 0.0)
    return {part: value / len(batch.images) for part, value in parts.items()}


@pytest.mark.parametrize("smoothing", [True, False])
@pytest.mark.parametrize("ignore", [0.3, 0.7])
def test_against_loops(smoothing: bool, ignore: float) -> None:
    batch = random_batch(1, side=96)
    heads = random_heads(batch, scale=0.5)
    found = YoloV3Loss(PARAMS, ignore, smoothing)([paddle.to_tensor(head) for head in heads], batch)
    expected = by_loops(heads, batch, ignore, 1 / 40 if smoothing else 0.0)
    for part in PARTS:
        assert float(found[part]) == pytest.approx(expected[part], rel=1e-4), part


def test_the_ignore_threshold_spares_boxes() -> None:
    batch = random_batch(1, side=96)
    heads = [paddle.to_tensor(head) for head in random_heads(batch, scale=0.5)]
    strict, lax = (float(YoloV3Loss(PARAMS, t)(heads, batch)["objectness"]) for t in (1.0, 0.2))
    assert lax < strict


def test_a_crowd_is_neither_object_nor_background() -> None:
    batch = random_batch(1, images=1, most=1, side=96)
    whole = np.array([[[0, 0, 96, 96]]], np.float32)
    weight, heads = np.ones((1, 1), np.float32), [np.full_like(head, -3) for head in random_heads(batch)][:2]
    heads = [paddle.to_tensor(head[:1]) for head in heads]
    parts = []
    for class_id in (-1, CROWD_CLASS):
        boxes = whole * (class_id != -1)
        parts.append(YoloV3Loss(PARAMS)(heads, Batch(batch.images, boxes, np.array([[class_id]]), weight)))
    empty, crowd = ({part: float(value) for part, value in p.items()} for p in parts)
    assert empty["objectness"] > 0 and crowd["objectness"] < 0.2 * empty["objectness"]  # only what hangs over is left
    assert all(p[part] == 0 for p in (empty, crowd) for part in ("xy", "wh", "class"))


def test_what_is_said_right_costs_nothing() -> None:
    batch = random_batch(2, images=1, most=3, side=96)
    batch = Batch(batch.images, batch.boxes_xyxy, batch.class_ids, (batch.class_ids >= 0).astype(np.float32))
    heads = []
    for targets, mask, stride in zip(assign_targets(batch, PARAMS), PARAMS.masks, PARAMS.strides):
        view = np.full((1, len(mask), 96 // stride, 96 // stride, 10), -30, np.float32)
        flat = view.reshape(-1, 10)
        for p, cell in enumerate(targets.cells[1:], 1):
            flat[cell, :2] = np.log(targets.centres[p] / (1 - targets.centres[p]))
            flat[cell, 2:4] = targets.log_sizes[p]
            flat[cell, 4] = flat[cell, 5 + targets.class_ids[p]] = 30
        heads.append(paddle.to_tensor(view.transpose(0, 1, 4, 2, 3).reshape(1, -1, 96 // stride, 96 // stride)))
    parts = YoloV3Loss(PARAMS, label_smoothing=False)(heads, batch)
    assert float(parts["wh"]) == pytest.approx(0, abs=1e-4)
    assert float(parts["objectness"]) == pytest.approx(0, abs=1e-4)
    assert float(parts["class"]) == pytest.approx(0, abs=1e-4)


def test_gradients_are_finite_without_objects_and_with_wild_values() -> None:
    batch = random_batch(3, side=96)
    empty = Batch(batch.images, batch.boxes_xyxy * 0, np.full_like(batch.class_ids, -1), batch.weights * 0)
    for data in (batch, empty):
        heads = [paddle.to_tensor(head, stop_gradient=False) for head in random_heads(batch, scale=50.0)]
        parts = YoloV3Loss(PARAMS)(heads, data)
        paddle.add_n(list(parts.values())).backward()
        assert all(np.isfinite(head.grad.numpy()).all() for head in heads)
