"""YOLOv3's decoding against darknet's formulas written out one box at a time, and what it must refuse."""

from __future__ import annotations

import math
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppsplit.bundle import DecodeSpec
from ppsplit.decode import build_decoder
from ppsplit.decode.heads import MAX_CANDIDATES
from ppsplit.decode.sigmoid import sigmoid
from ppsplit.detections import Detections, class_wise_nms
from ppsplit.errors import InferenceRuntimeError

PARAMS = {
    "num_classes": 3,
    "anchors": [[10, 14], [23, 27], [37, 58]],
    "masks": [[1, 2], [0]],
    "strides": [32, 16],
    "score_threshold": 0.25,
    "nms_iou_threshold": 0.45,
    "max_detections": 100,
}
INPUT_HW = (64, 96)
SHAPES = [(16, 2, 3), (8, 4, 6)]


def decoder(**changes):
    return build_decoder(DecodeSpec("yolov3", {**PARAMS, **changes}), INPUT_HW)


def silent_heads(batch: int = 1) -> list:
    """Heads that see nothing at all."""
    return [np.full((batch, *shape), -9.0, np.float32) for shape in SHAPES]


def written_out(heads: list, threshold: float) -> list:
    """Every (box, score, class) of a batch of one, by the formulas of the paper."""

    def logistic(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    found = []
    for head, mask, stride in zip(heads, PARAMS["masks"], PARAMS["strides"]):
        _, _, height, width = head.shape
        for a, anchor in enumerate(mask):
            for row in range(height):
                for column in range(width):
                    t = [float(v) for v in head[0, a * 8 : a * 8 + 8, row, column]]
                    x, y = (column + logistic(t[0])) * stride, (row + logistic(t[1])) * stride
                    w, h = (side * math.exp(log) for side, log in zip(PARAMS["anchors"][anchor], t[2:4]))
                    for class_id in range(3):
                        score = logistic(t[4]) * logistic(t[5 + class_id])
                        if score > threshold:
                            found.append(((x - w / 2, y - h / 2, x + w / 2, y + h / 2), score, class_id))
    return found


def test_nothing_seen():
    found = decoder()(silent_heads(batch=2))
    assert [len(image) for image in found] == [0, 0]
    assert found[0].boxes_xyxy.shape == (0, 4)


def test_no_images():
    assert decoder()(silent_heads(batch=0)) == []


def test_one_box_by_hand():
    heads = silent_heads()
    # second anchor of the first head, cell row 1, column 2: the middle of the cell, the anchor's own size
    heads[0][0, 8:16, 1, 2] = [0, 0, 0, 0, 9, 9, -9, 9]
    found = decoder()(heads)[0]
    expected = [2.5 * 32 - 18.5, 1.5 * 32 - 29, 2.5 * 32 + 18.5, 1.5 * 32 + 29]
    np.testing.assert_allclose(found.boxes_xyxy, [expected, expected], rtol=1e-6)
    assert sorted(found.class_ids) == [0, 2]  # one box, two classes
    assert found.boxes_xyxy.dtype == found.scores.dtype == np.float32
    assert found.class_ids.dtype == np.int64


@given(seed=st.integers(0, 10_000), threshold=st.sampled_from([0.001, 0.05, 0.3]))
@settings(max_examples=30, deadline=None)
def test_agrees_with_the_formulas(seed, threshold):
    random = np.random.RandomState(seed)
    heads = [random.normal(-1, 2, (1, *shape)).astype(np.float32) for shape in SHAPES]
    boxes, scores, class_ids = zip(*written_out(heads, threshold))
    everything = Detections(np.array(boxes, np.float32), np.array(scores, np.float32), np.array(class_ids, np.int64))
    expected = class_wise_nms(everything, 0.45, 1000)
    found = decoder()(heads, score_threshold=threshold, iou_threshold=0.45, max_detections=1000)[0]
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
    np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, rtol=1e-5, atol=1e-3)


def test_the_threshold_itself_is_not_above_it():
    heads = silent_heads()
    heads[0][0, 4, 0, 0] = 0.0  # objectness exactly 0.5
    heads[0][0, 5, 0, 0] = 100.0  # class exactly 1
    assert len(decoder()(heads, score_threshold=0.5)[0]) == 0
    assert len(decoder()(heads, score_threshold=0.4999)[0]) == 1


def test_images_of_a_batch_do_not_mix():
    random = np.random.RandomState(0)
    heads = [random.normal(-1, 2, (3, *shape)).astype(np.float32) for shape in SHAPES]
    together = decoder()(heads)
    for index in range(3):
        alone = decoder()([head[index : index + 1] for head in heads])[0]
        assert (alone.boxes_xyxy == together[index].boxes_xyxy).all()
        assert (alone.scores == together[index].scores).all()


def test_names_or_a_list_and_limits():
    random = np.random.RandomState(1)
    heads = [random.normal(0, 2, (1, *shape)).astype(np.float32) for shape in SHAPES]
    named = decoder()({"a": heads[0], "b": heads[1]})[0]
    assert (named.scores == decoder()(heads)[0].scores).all()
    best = decoder()(heads, max_detections=2)[0]
    assert (best.scores == named.scores[:2]).all()
    assert (decoder(max_detections=2)(heads)[0].scores == best.scores).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda heads: heads[::-1],
        lambda heads: heads[:1],
        lambda heads: [],
        lambda heads: [heads[0], heads[1][:, :7]],
        lambda heads: [heads[0], heads[1][:, :, :3]],
        lambda heads: [heads[0][0], heads[1][0]],
        lambda heads: [heads[0], np.concatenate([heads[1]] * 2)],
    ],
)
def test_wrong_shapes(change):
    with pytest.raises(InferenceRuntimeError, match="expected"):
        decoder()(change(silent_heads()))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("channel", [0, 2, 4, 6])
def test_values_that_are_not_finite_are_no_silence(value, channel):
    heads = silent_heads()
    heads[1][0, 4, 1, 1] = 5.0
    heads[1][0, channel, 1, 1] = value
    with pytest.raises(InferenceRuntimeError, match="not finite"):
        decoder()(heads)


def test_huge_sizes_stay_finite():
    heads = silent_heads()
    heads[0][0, :8, 0, 0] = [0, 0, 1e4, 1e4, 9, 9, 9, 9]
    found = decoder()(heads)[0]
    assert len(found) == 3 and np.isfinite(found.boxes_xyxy).all()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"masks": [[1, 2]]}, "1 masks for 2 strides"),
        ({"masks": [[1, 3], [0]]}, "outside 0..2"),
        ({"surprise": 1}, "surprise"),
        ({"anchors": [[10], [1, 2], [3, 4]]}, "decode parameters"),
    ],
)
def test_wrong_parameters(changes, says):
    with pytest.raises(InferenceRuntimeError, match=says):
        decoder(**changes)


def test_unknown_family():
    with pytest.raises(InferenceRuntimeError, match="known: .*yolov3"):
        build_decoder(DecodeSpec("yolov9"), INPUT_HW)


@given(st.floats(-1e4, 1e4))
def test_sigmoid(x):
    value = float(sigmoid(np.array([x], np.float32))[0])
    assert value == pytest.approx(0.5 * (1 + math.tanh(x / 2)), abs=1e-6)


def test_a_flood_of_candidates_is_capped_and_soon_done():
    params = {**PARAMS, "num_classes": 80, "masks": [[0, 1, 2], [0, 1, 2]]}
    random = np.random.RandomState(0)
    heads = [random.normal(0, 1, (1, 255, size, size)).astype(np.float32) for size in (13, 26)]
    start = time.perf_counter()
    found = build_decoder(DecodeSpec("yolov3", params), (416, 416))(
        heads, score_threshold=0.001, iou_threshold=1.0, max_detections=10**6
    )[0]
    assert time.perf_counter() - start < 5
    assert len(found) == MAX_CANDIDATES  # an IoU above 1 does not exist, so NMS dropped none
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores[-1] > 0.5  # the best ones, not the first ones


def test_it_needs_no_paddle():
    script = "import sys, ppsplit.decode; assert 'paddle' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0
