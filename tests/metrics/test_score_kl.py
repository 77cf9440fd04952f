"""The divergence of class scores: closed forms, a golden value, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ppsplit.errors import DataError
from ppsplit.metrics.score_kl import score_kl


def test_equal_scores_and_no_anchors() -> None:
    scores = np.random.default_rng(0).random((7, 3))
    assert score_kl(scores, scores) == 0
    assert score_kl(np.zeros((0, 3)), np.zeros((0, 3))) == 0


def test_one_score_in_closed_form() -> None:
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert score_kl(np.array([[0.5]]), np.array([[0.25]])) == pytest.approx(expected, rel=1e-12)


def test_scores_are_clipped() -> None:
    p, q = 1 - 1e-5, 1e-5
    expected = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    assert score_kl(np.array([[1.0]]), np.array([[0.0]])) == pytest.approx(expected, rel=1e-9)


def test_unseen_anchors_do_not_count_and_seen_ones_count_whole() -> None:
    truth = np.array([[0.02, 0.01], [0.021, 0.0]])
    judged = np.array([[0.9, 0.9], [0.021, 0.5]])
    assert score_kl(truth, judged) == pytest.approx(score_kl(np.array([[0.021, 0.0]]), np.array([[0.021, 0.5]])))
    assert score_kl(truth, judged) > 0.6


def test_golden_value() -> None:
    truth = np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3)
    assert score_kl(truth, truth[::-1]) == pytest.approx(26.00783, abs=1e-4)


@pytest.mark.parametrize(
    ("truth", "scores"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.zeros(3), np.zeros(3)),
        (np.full((1, 1), np.nan), np.zeros((1, 1))),
        (np.zeros((1, 1)), np.full((1, 1), 1.5)),
    ],
)
def test_what_are_no_scores(truth: np.ndarray, scores: np.ndarray) -> None:
    with pytest.raises(DataError):
        score_kl(truth, scores)
