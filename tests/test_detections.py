"""Boxes: IoU and NMS against tables and brute force, the empty case first."""

from __future__ import annotations

from typing import List, Tuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppsplit.detections import Detections, box_area, class_wise_nms, nms, pairwise_iou

EMPTY = np.zeros((0, 4), np.float32)


def make(rows: List[Tuple[Tuple[float, ...], float, int]]) -> Detections:
    if not rows:
        return Detections.empty()
    boxes, scores, classes = zip(*rows)
    return Detections(np.float32(boxes), np.float32(scores), np.int64(classes))


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1.0),
        ((0, 0, 2, 2), (1, 0, 3, 2), 1 / 3),
        ((0, 0, 2, 2), (2, 0, 4, 2), 0.0),
        ((0, 0, 4, 4), (1, 1, 2, 2), 1 / 16),
        ((0, 0, 0, 0), (0, 0, 0, 0), 0.0),
        ((2, 2, 0, 0), (0, 0, 2, 2), 0.0),
    ],
    ids=["same", "half", "touching", "inside", "no area", "inverted"],
)
def test_iou(a: Tuple[float, ...], b: Tuple[float, ...], iou: float) -> None:
    assert pairwise_iou(np.float32([a]), np.float32([b])) == pytest.approx(iou)


def test_nothing_in_nothing_out() -> None:
    assert pairwise_iou(EMPTY, EMPTY).shape == (0, 0)
    assert box_area(EMPTY).shape == (0,)
    assert len(nms(EMPTY, np.zeros(0), 0.5)) == 0
    assert len(class_wise_nms(Detections.empty(), 0.5, 10)) == 0
    assert Detections.from_records(Detections.empty().to_records()).boxes_xyxy.shape == (0, 4)


def test_equality_with_the_threshold_keeps_the_box() -> None:
    boxes = np.float32([[0, 0, 2, 2], [1, 0, 3, 2]])
    assert list(nms(boxes, np.float32([1, 0.5]), float(pairwise_iou(boxes[:1], boxes[1:])[0, 0]))) == [0, 1]
    assert list(nms(boxes, np.float32([1, 0.5]), 0.33)) == [0]


def test_classes_do_not_suppress_each_other_and_the_best_come_first() -> None:
    box = (0.0, 0.0, 2.0, 2.0)
    kept = class_wise_nms(make([(box, 0.3, 1), (box, 0.9, 0), (box, 0.8, 0), (box, 0.7, 2)]), 0.5, 2)
    assert list(zip(kept.class_ids, kept.scores.round(1))) == [(0, np.float32(0.9)), (2, np.float32(0.7))]


corner = st.integers(0, 12)
rows = st.lists(
    st.tuples(
        st.tuples(corner, corner, corner, corner).map(lambda c: (c[0], c[1], c[0] + c[2] + 1, c[1] + c[3] + 1)),
        st.integers(0, 1000).map(lambda s: s / 1000),
        st.integers(0, 2),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(rows, st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_nms_is_the_textbook_loop(found: list, threshold: float) -> None:
    detections = make(found)
    left = sorted(range(len(found)), key=lambda i: -detections.scores[i])
    expected = []
    while left:
        best = left.pop(0)
        expected.append(best)
        box = detections.boxes_xyxy[best : best + 1]
        left = [i for i in left if pairwise_iou(box, detections.boxes_xyxy[i : i + 1])[0, 0] <= np.float32(threshold)]
    assert list(nms(detections.boxes_xyxy, detections.scores, threshold)) == expected


@settings(deadline=None)
@given(rows)
def test_records_round_trip(found: list) -> None:
    detections = make(found)
    again = Detections.from_records(detections.to_records(["a", "b", "c"]))
    np.testing.assert_array_equal(again.boxes_xyxy, detections.boxes_xyxy)
    np.testing.assert_array_equal(again.class_ids, detections.class_ids)
    np.testing.assert_allclose(again.scores, detections.scores, atol=1e-5)


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="expected"):
        Detections(EMPTY, np.zeros(1, np.float32), np.zeros(0, np.int64))
