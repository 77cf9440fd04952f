"""Logits and probabilities to the likeliest classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppsplit.bundle import DecodeSpec
from ppsplit.classification import Classification
from ppsplit.decode import build_decoder
from ppsplit.decode.classify import softmax
from ppsplit.errors import InferenceRuntimeError

HW = (32, 32)


def decoder(**params: object):  # type: ignore[no-untyped-def]
    return build_decoder(DecodeSpec("classify", {"num_classes": 4, "softmax": True, **params}), HW)


def test_best_first_and_equal_ones_by_number() -> None:
    (found,) = decoder(max_detections=3)([np.array([[1.0, 3.0, 1.0, 2.0]], np.float32)])
    assert found.class_ids.tolist() == [1, 3, 0]
    weights = np.exp([3.0, 2.0, 1.0])
    np.testing.assert_allclose(found.scores, weights / np.exp([1.0, 3.0, 1.0, 2.0]).sum(), rtol=1e-6)
    assert (found.scores.dtype, found.class_ids.dtype) == (np.float32, np.int64)


def test_probabilities_stay_and_calls_have_their_own_limits() -> None:
    output = {"p": np.array([[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0]], np.float32)[:, :, None, None]}
    first, second = decoder(softmax=False)(output, score_threshold=0.2, max_detections=2)
    assert (first.class_ids.tolist(), second.class_ids.tolist()) == ([3, 2], [0])
    assert first.scores.tolist() == pytest.approx([0.4, 0.3])
    assert [len(one) for one in decoder(softmax=False)(output)] == [4, 4]
    assert decoder()([np.zeros((0, 4), np.float32)]) == []


@settings(deadline=None)
@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=9))
def test_softmax_is_a_distribution_in_the_order_of_the_logits(values: list) -> None:
    row = np.array(values)
    scores = softmax(row)
    assert np.isfinite(scores).all() and scores.sum() == pytest.approx(1)
    order = np.argsort(row, kind="stable")
    assert (np.diff(scores[order]) >= 0).all()


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ([], "one of .N, 4. was expected"),
        ([np.zeros((1, 5))], "one of .N, 4. was expected"),
        ([np.zeros((1, 4, 2, 1))], "one of .N, 4. was expected"),
        ([np.zeros((1, 4)), np.zeros((1, 4))], "one of .N, 4. was expected"),
        ([np.array([[0, np.nan, 0, 0]])], "not finite"),
    ],
)
def test_outputs_of_another_network_are_refused(outputs: list, says: str) -> None:
    with pytest.raises(InferenceRuntimeError, match=says):
        decoder()(outputs)


@pytest.mark.parametrize("params", [{"num_classes": 0}, {"max_detections": 0}, {"anchors": []}])
def test_wrong_parameters_are_named(params: dict) -> None:
    with pytest.raises(InferenceRuntimeError, match="'classify' are wrong"):
        decoder(**params)


def test_records_there_and_back() -> None:
    found = Classification(np.array([3, 0]), np.array([0.75, 0.25], np.float32))
    records = found.to_records(("a", "b"))
    assert records == [{"class_id": 3, "score": 0.75}, {"class_id": 0, "class_name": "a", "score": 0.25}]
    again = Classification.from_records(records)
    assert (again.class_ids.tolist(), again.scores.tolist()) == ([3, 0], [0.75, 0.25])
    assert len(Classification.from_records([])) == 0
    with pytest.raises(ValueError, match="class_ids"):
        Classification(np.array([1]), np.array([0.5, 0.5], np.float32))
