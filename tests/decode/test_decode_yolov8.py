"""YOLOv8's decoding against a loop that follows the definition, and masks against closed forms."""

from __future__ import annotations

import math
from typing import List

import numpy as np
import pytest

from ppsplit.bundle import DecodeSpec
from ppsplit.decode import build_decoder
from ppsplit.decode.prototypes import assemble_masks
from ppsplit.decode.yolov8 import BINS, YoloV8Decoder
from ppsplit.errors import InferenceRuntimeError

HW, STRIDES, CLASSES = (64, 96), (8, 16, 32), 3


def empty_maps(masks: int = 0, batch: int = 1) -> List[np.ndarray]:
    maps = [np.zeros((batch, 4 * BINS + CLASSES + masks, HW[0] // s, HW[1] // s), np.float32) for s in STRIDES]
    for values in maps:
        values[:, 4 * BINS : 4 * BINS + CLASSES] = -20
    return maps


def decoder(**params: object) -> YoloV8Decoder:
    return YoloV8Decoder(HW, CLASSES, **params)  # type: ignore[arg-type]


def test_nothing_there_and_an_empty_batch():
    assert [len(found) for found in decoder()(empty_maps(batch=2))] == [0, 0]
    assert decoder()(empty_maps(batch=0)) == []


def by_definition(maps: List[np.ndarray], threshold: float) -> list:
    rows = []
    for values, stride in zip(maps, STRIDES):
        for row in range(values.shape[1]):
            for column in range(values.shape[2]):
                cell = values[:, row, column].astype(np.float64)
                sides = []
                for side in range(4):
                    weights = [math.exp(v) for v in cell[side * BINS : (side + 1) * BINS]]
                    sides.append(sum(i * w for i, w in enumerate(weights)) / sum(weights))
                x, y = column + 0.5, row + 0.5
                box = [
                    (x - sides[0]) * stride,
                    (y - sides[1]) * stride,
                    (x + sides[2]) * stride,
                    (y + sides[3]) * stride,
                ]
                for class_id in range(CLASSES):
                    score = 1 / (1 + math.exp(-cell[4 * BINS + class_id]))
                    if score > threshold:
                        rows.append((score, class_id, box))
    return sorted(rows, reverse=True)


def test_against_the_definition():
    random = np.random.RandomState(0)
    maps = [random.normal(0, 2, values.shape).astype(np.float32) for values in empty_maps()]
    found = decoder(nms_iou_threshold=1.0, max_detections=10_000)(maps, score_threshold=0.6)[0]
    expected = by_definition([values[0] for values in maps], 0.6)
    assert len(found) == len(expected) > 20
    np.testing.assert_allclose(found.scores, [score for score, _, _ in expected], rtol=1e-5)
    assert found.class_ids.tolist() == [class_id for _, class_id, _ in expected]
    np.testing.assert_allclose(found.boxes_xyxy, [box for _, _, box in expected], atol=1e-3)


def test_exported_says_the_same():
    """Ultralytics' own ONNX has the boxes and scores worked out already."""
    random = np.random.RandomState(1)
    maps = [random.normal(0, 2, values.shape).astype(np.float32) for values in empty_maps()]
    ours = decoder()(maps, score_threshold=0.8)[0]
    columns = []
    for values, stride in zip(maps, STRIDES):
        sides = values[0, : 4 * BINS].reshape(4, BINS, -1)
        weights = np.exp(sides) / np.exp(sides).sum(1, keepdims=True)
        left, top, right, bottom = np.tensordot(np.arange(BINS), weights, (0, 1))
        rows, places = np.mgrid[: values.shape[2], : values.shape[3]].reshape(2, -1) + 0.5
        centre = [(places + (right - left) / 2) * stride, (rows + (bottom - top) / 2) * stride]
        scores = 1 / (1 + np.exp(-values[0, 4 * BINS :].reshape(CLASSES, -1)))
        columns.append(np.concatenate([[*centre, (left + right) * stride, (top + bottom) * stride], scores]))
    exported = np.concatenate(columns, axis=1)[None].astype(np.float32)
    theirs = decoder(layout="exported")([exported], score_threshold=0.8)[0]
    assert len(ours) == len(theirs) > 5 and (ours.class_ids == theirs.class_ids).all()
    np.testing.assert_allclose(ours.boxes_xyxy, theirs.boxes_xyxy, atol=1e-2)


def test_a_box_counts_for_every_class_and_a_mask_comes_with_each():
    maps = empty_maps(masks=2)
    maps[1][0, 4 * BINS + np.int64([0, 2]), 1, 2] = (3, 2)
    for side, distance in enumerate((1, 1, 2, 1)):
        maps[1][0, side * BINS + distance, 1, 2] = 50
    maps[1][0, 4 * BINS + CLASSES :, 1, 2] = (1, -1)
    prototypes = np.zeros((1, 2, 16, 24), np.float32)
    prototypes[:, 0] = 1
    prototypes[:, 1, :, 12:] = 3  # where the second prototype weighs more, the sum is below 0
    found = decoder(mask_channels=2)([*maps, prototypes])[0]
    np.testing.assert_allclose(found.boxes_xyxy, [[24, 8, 72, 40]] * 2, atol=1e-3)
    assert found.class_ids.tolist() == [0, 2]
    mask = found.masks[0].mask()
    assert mask.shape == HW and mask[8:40, 24:44].all() and not mask[:, 52:].any()
    outside = mask.copy()
    outside[8:40, 24:72] = False
    assert not outside.any()


def test_a_box_outside_or_without_area_has_an_empty_mask():
    boxes = np.float32([[-30, -30, -5, -5], [10, 10, 10, 20], [200, 0, 300, 9], [-5, -5, 200, 200]])
    masks = assemble_masks(np.ones((4, 1), np.float32), np.ones((1, 16, 24), np.float32), boxes, HW)
    assert [mask.area for mask in masks] == [0, 0, 0, HW[0] * HW[1]]
    assert assemble_masks(np.zeros((0, 1), np.float32), np.ones((1, 16, 24), np.float32), boxes[:0], HW) == []


@pytest.mark.parametrize("change", ["order", "one less", "no prototypes", "classes", "batch", "nan", "rank"])
def test_outputs_that_do_not_fit(change):
    tensors = [*empty_maps(masks=4), np.zeros((1, 4, 16, 24), np.float32)]
    if change == "order":
        tensors = tensors[::-1]
    elif change == "one less":
        tensors = tensors[1:]
    elif change == "no prototypes":
        tensors = tensors[:-1]
    elif change == "classes":
        tensors[0] = tensors[0][:, 1:]
    elif change == "batch":
        tensors[1] = np.concatenate([tensors[1]] * 2)
    elif change == "nan":
        tensors[2][0, 3, 0, 0] = np.nan
    else:
        tensors[0] = tensors[0][0]
    with pytest.raises(InferenceRuntimeError):
        decoder(mask_channels=4)(tensors)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_thresholds_at_both_ends(threshold):
    found = decoder(max_detections=7)(empty_maps(), score_threshold=threshold)[0]
    assert len(found) == (7 if threshold == 0 else 0)


def test_from_a_manifest():
    params = {"num_classes": CLASSES, "mask_channels": 0, "strides": list(STRIDES), "score_threshold": 0.25}
    build_decoder(DecodeSpec("yolov8", {**params, "nms_iou_threshold": 0.7, "max_detections": 300}), HW)
    with pytest.raises(InferenceRuntimeError, match="layout"):
        build_decoder(DecodeSpec("yolov8", {**params, "layout": "other"}), HW)
