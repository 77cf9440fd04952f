"""The scores inside raw outputs: by hand, and what is written to the views lands in the outputs."""

from __future__ import annotations

import numpy as np
import pytest

from ppsplit.bundle import DecodeSpec
from ppsplit.decode.scores import class_scores, knows_scores, score_logits
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
    for logits in score_logits(found, SPEC):
        assert logits.objectness is not None
        logits.objectness[...], logits.classes[...] = 1, 2
    assert found["a"][0, :, 0, 0].tolist() == [0, 0, 0, 0, 1, 2, 2] * 2
    assert found["b"][1, :, 1, 1].tolist() == [0, 0, 0, 0, 1, 2, 2]


def test_an_unknown_family_and_strange_outputs() -> None:
    assert knows_scores(SPEC) and not knows_scores(DecodeSpec("raw"))
    with pytest.raises(InferenceRuntimeError, match="raw"):
        score_logits(outputs(), DecodeSpec("raw"))
    with pytest.raises(InferenceRuntimeError, match="not those"):
        class_scores({"a": np.zeros((1, 13, 2, 2), np.float32)}, SPEC)
