"""The scores inside raw outputs: by hand, and what is written to the views lands in the outputs."""

from __future__ import annotations

import numpy as np
import pytest

from ppsplit.bundle import DecodeSpec
from ppsplit.decode.scores import class_scores, knows_scores, raw_scores
from ppsplit.errors import InferenceRuntimeError

SPEC = DecodeSpec("yolov3", {"masks": [[0, 1], [2]], "num_classes": 2})


def outputs() -> dict:
    rng = np.random.default_rng(0)
    shapes = {"a": (2, 14, 1, 3), "b": (2, 7, 2, 2)}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def test_yolov3_by_hand() -> None:
    found = outputs()
    scores = class_scores(found, SPEC)
    assert scores.shape == (2, 2 * 3 + 1 * 4, 2)
    sigmoid = lambda x: 1 / (1 + np.exp(-float(x)))  # noqa: E731
    # image 1, head a, anchor 1, cell 2, class 0; image 0, head b, anchor 2 of all, cell (1, 0), class 1
    assert scores[1, 1 * 3 + 2, 0] == pytest.approx(
        sigmoid(found["a"][1, 7 + 4, 0, 2]) * sigmoid(found["a"][1, 7 + 5, 0, 2])
    )
    assert scores[0, 6 + 2, 1] == pytest.approx(sigmoid(found["b"][0, 4, 1, 0]) * sigmoid(found["b"][0, 6, 1, 0]))


def test_views_write_through() -> None:
    found = {name: np.zeros_like(array) for name, array in outputs().items()}
    for raw in raw_scores(found, SPEC):
        assert raw.objectness is not None and raw.are_logits
        raw.objectness[...], raw.classes[...] = 1, 2
    assert found["a"][0, :, 0, 0].tolist() == [0, 0, 0, 0, 1, 2, 2] * 2
    assert found["b"][1, :, 1, 1].tolist() == [0, 0, 0, 0, 1, 2, 2]


def test_an_unknown_family_and_strange_outputs() -> None:
    assert knows_scores(SPEC) and not knows_scores(DecodeSpec("raw"))
    with pytest.raises(InferenceRuntimeError, match="raw"):
        raw_scores(outputs(), DecodeSpec("raw"))
    with pytest.raises(InferenceRuntimeError, match="not those"):
        class_scores({"a": np.zeros((1, 13, 2, 2), np.float32)}, SPEC)


FAMILIES = [
    (DecodeSpec("yolov8", {"num_classes": 3, "mask_channels": 0}), {"a": (2, 67, 2, 3), "b": (2, 67, 1, 2)}, 8),
    (DecodeSpec("yolov8", {"num_classes": 3, "mask_channels": 5}), {"a": (2, 72, 2, 3), "p": (2, 5, 4, 4)}, 6),
    (
        DecodeSpec("yolov8", {"num_classes": 3, "mask_channels": 5, "layout": "exported"}),
        {"a": (2, 12, 6), "p": (2,)},
        6,
    ),
    (
        DecodeSpec("picodet", {"num_classes": 3, "strides": [8, 16]}),
        {n: (2, 4, c) for n, c in zip("abcd", (3, 3, 9, 9))},
        8,
    ),
    (DecodeSpec("yolox", {"num_classes": 3}), {"a": (2, 7, 8)}, 7),
]


@pytest.mark.parametrize(("spec", "shapes", "anchors"), FAMILIES)
def test_scores_are_what_the_family_s_decoder_reads(spec: DecodeSpec, shapes: dict, anchors: int) -> None:
    """A score that is raised in the views, and no other, is what all of the outputs say."""
    found = {name: np.full(shape, 0.01, np.float32) for name, shape in shapes.items()}
    *_, last = raw_scores(found, spec)
    last.classes[1, 0, 2, -1] = 4.0 if last.are_logits else 0.98
    if last.objectness is not None:
        last.objectness[1, 0, 0, -1] = 0.5
    scores = class_scores(found, spec)
    assert scores.shape == (2, anchors, 3)
    expected = 0.5 * 0.98 if last.objectness is not None else 0.98
    assert scores[1, -1, 2] == pytest.approx(expected, abs=0.003) and (scores > 0.8 * expected).sum() == 1


@pytest.mark.parametrize(("spec", "shapes", "anchors"), FAMILIES)
def test_strange_outputs_are_refused(spec: DecodeSpec, shapes: dict, anchors: int) -> None:
    with pytest.raises(InferenceRuntimeError, match="not those"):
        class_scores({name: np.zeros((2, 2, 6), np.float32) for name in shapes}, spec)
