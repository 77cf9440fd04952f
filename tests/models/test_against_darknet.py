"""The port computes what the original darknet program computes: live where it is installed, by golden files always."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Dict, List

import numpy as np
import pytest

from ppsplit.decode import build_decoder
from ppsplit.detections import Detections
from ppsplit.models import build_model, decode_spec
from ppsplit.models.darknet_cfg import format_cfg
from ppsplit.models.darknet_layout import darknet_sections
from ppsplit.models.darknet_weights import load_darknet_weights, save_darknet_weights
from ppsplit.paddle_first import paddle
from tests.models.darknet_original import CFG_FOLDER
from tests.models.golden import CASES, Case, sample_indices
from tests.models.seeded import random_image, randomise

RELATIVE = 1e-5  # of a head's largest value; 1e-6 to 3e-6 was seen
BOX_PIXELS, SCORE = 1e-2, 1e-4


def raw_heads(network: paddle.nn.Layer, image: np.ndarray) -> List[np.ndarray]:
    with paddle.no_grad():
        return [head.numpy() for head in network(paddle.to_tensor(image[None]))]


def decoded(network: paddle.nn.Layer, heads: List[np.ndarray], input_hw, threshold: float) -> Detections:
    decoder = build_decoder(decode_spec(network.params), input_hw)
    return decoder(heads, score_threshold=threshold, iou_threshold=0.45, max_detections=10_000)[0]


def assert_same_heads(ours: List[np.ndarray], original: Dict[str, np.ndarray]) -> None:
    for index, head in enumerate(ours):
        theirs = original[f"head{index}"]
        assert head[0].shape == theirs.shape
        error = np.abs(head[0] - theirs).max() / np.abs(theirs).max()
        print(f"head {index}: largest error {error:.2e} of the largest value")
        assert error < RELATIVE


def assert_same_boxes(ours: Detections, boxes, scores, class_ids) -> None:
    """The same detections in any order of near-equal scores: match each to the nearest of its class."""
    assert len(ours) == len(scores)
    left = list(range(len(ours)))
    for box, score, class_id in zip(np.array(boxes), scores, class_ids):
        distance = [
            np.abs(ours.boxes_xyxy[i] - box).max() + 1e3 * abs(ours.scores[i] - score)
            + 1e6 * (ours.class_ids[i] != class_id)
            for i in left
        ]  # fmt: skip
        nearest = left.pop(int(np.argmin(distance)))
        assert ours.class_ids[nearest] == class_id
        assert np.abs(ours.boxes_xyxy[nearest] - box).max() < BOX_PIXELS
        assert abs(ours.scores[nearest] - score) < SCORE


@pytest.mark.parametrize("photo", ["coffee", "motorcycle_left"], indirect=True)
@pytest.mark.parametrize("threshold", [0.25, 0.01])
def test_tiny_on_photos_read_by_darknet(tiny, tiny_weights, darknet, photo, threshold):
    cfg = format_cfg(darknet_sections(tiny))
    original = darknet(cfg, tiny_weights, (16, 23), "--image", photo, "--threshold", threshold)
    heads = raw_heads(tiny, original["input"])
    assert_same_heads(heads, original)
    assert len(original["scores"]) >= 1
    found = decoded(tiny, heads, (416, 416), threshold)
    assert_same_boxes(found, original["boxes"], original["scores"], original["class_ids"])


def test_darknet53_with_the_packaged_cfg(darknet, tmp_path):
    network = build_model("yolov3_darknet53")
    network.eval()
    randomise(network, seed=7, head_gain=0.06)
    weights = tmp_path / "seeded.weights"
    save_darknet_weights(network, weights)
    if not (CFG_FOLDER / "yolov3.cfg").exists():
        pytest.skip("darknet's yolov3.cfg is not installed")
    cfg = (CFG_FOLDER / "yolov3.cfg").read_text()
    for key, value in (("batch", 1), ("subdivisions", 1), ("width", 96), ("height", 96)):
        cfg = re.sub(rf"^{key}=\d+", f"{key}={value}", cfg, flags=re.MULTILINE)
    image = tmp_path / "x.npy"
    np.save(image, random_image(8, 96, 96))
    original = darknet(cfg, weights, (82, 94, 106), "--input", image, "--threshold", 0.075)

    loaded = build_model("yolov3_darknet53")
    loaded.eval()
    load_darknet_weights(loaded, weights)
    heads = raw_heads(loaded, original["input"])
    assert_same_heads(heads, original)
    found = decoded(loaded, heads, (96, 96), 0.075)
    assert len(found) > 10
    assert_same_boxes(found, original["boxes"], original["scores"], original["class_ids"])


@pytest.mark.parametrize(("name", "layers"), [("yolov3_tiny", (16, 23)), ("yolov3_darknet53", (82, 94, 106))])
def test_a_narrow_network_described_by_us_runs_in_darknet(darknet, tmp_path, name, layers):
    network = build_model(name, num_classes=3, width=0.125)
    network.eval()
    randomise(network, seed=2)
    # variances far below Paddle's epsilon are where the two programs' formulas part
    first = network.sublayers()[0].bn
    first._variance.set_value(np.full(first._variance.shape, 1e-7, np.float32))
    first.weight.set_value(first.weight * 0.01)
    save_darknet_weights(network, tmp_path / "narrow.weights")
    np.save(tmp_path / "x.npy", random_image(3, 64, 96))
    cfg = format_cfg(darknet_sections(network, (64, 96)))
    original = darknet(cfg, tmp_path / "narrow.weights", layers, "--input", tmp_path / "x.npy")
    assert_same_heads(raw_heads(network, original["input"]), original)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.path.stem)
def test_golden(case: Case, request):
    if case.photo:
        request.getfixturevalue("tiny_weights")
    golden = json.loads(Path(case.path).read_text())
    image = case.input()
    assert image.mean(dtype=np.float64) == pytest.approx(golden["input_mean"], rel=1e-6)
    network = case.network()
    heads = raw_heads(network, image)
    for head, expected in zip(heads, golden["heads"]):
        assert list(head[0].shape) == expected["shape"]
        samples = head.reshape(-1)[sample_indices(head.size)]
        assert np.abs(samples - expected["samples"]).max() < RELATIVE * expected["max_abs"]
    found = decoded(network, heads, case.input_hw, golden["threshold"])
    assert_same_boxes(found, golden["boxes_xyxy"], golden["scores"], golden["class_ids"])
