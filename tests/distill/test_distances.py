"""Distances against numpy's, zero where two networks agree."""

from __future__ import annotations

from typing import List

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppsplit.distill.distances import SURE_ENOUGH, feature_distance, head_distances
from ppsplit.distill.walk import recorded
from ppsplit.paddle_first import paddle

from .conftest import SIDE

ANCHORS = (3, 2)  # of each head
CLASSES = 2


class Params:
    """As much of a network's parameters as a distance asks for."""

    masks = ((0, 1, 2), (3, 4))


def random_heads(rng: np.random.Generator, images: int, spread: float = 2.0) -> List[np.ndarray]:
    sides = (1, 2)
    return [
        rng.normal(0, spread, (images, anchors * (5 + CLASSES), side, side)).astype(np.float32)
        for anchors, side in zip(ANCHORS, sides)
    ]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def divergence(mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Of one coin from another, in nats, by its definition."""
    p, q = sigmoid(theirs), sigmoid(mine)
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def by_hand(student: List[np.ndarray], teacher: List[np.ndarray]) -> "dict[str, float]":
    """Box after box."""
    total = {"box": 0.0, "objectness": 0.0, "class": 0.0}
    images = len(student[0])
    for mine, theirs, anchors in zip(student, teacher, ANCHORS):
        for n, a, y, x in np.ndindex(images, anchors, *mine.shape[2:]):
            numbers = slice(a * (5 + CLASSES), (a + 1) * (5 + CLASSES))
            s, t = mine[n, numbers, y, x], theirs[n, numbers, y, x]
            weight = sigmoid(t[4]) + SURE_ENOUGH
            place = (sigmoid(s[:2]) - sigmoid(t[:2])) ** 2
            total["box"] += weight * (place.sum() + ((s[2:4].astype(np.float64) - t[2:4]) ** 2).sum()) / images
            total["objectness"] += divergence(s[4], t[4]) / images
            total["class"] += weight * divergence(s[5:], t[5:]).sum() / images
    return total


def tensors(arrays: List[np.ndarray], learnt: bool = False) -> List[paddle.Tensor]:
    return [paddle.to_tensor(array, stop_gradient=not learnt) for array in arrays]


@given(seed=st.integers(0, 2**32 - 1), images=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_heads_against_numpy(seed: int, images: int) -> None:
    rng = np.random.default_rng(seed)
    student, teacher = random_heads(rng, images), random_heads(rng, images)
    found = head_distances(tensors(student), tensors(teacher), Params)
    wanted = by_hand(student, teacher)
    assert list(found) == list(wanted)
    for part, value in found.items():
        assert float(value) == pytest.approx(wanted[part], rel=1e-4) and float(value) > 0


def test_equal_heads_are_no_distance_and_nothing_to_learn() -> None:
    teacher = random_heads(np.random.default_rng(0), 2)
    student = tensors(teacher, learnt=True)
    parts = head_distances(student, tensors(teacher), Params)
    paddle.add_n(list(parts.values())).backward()
    assert all(abs(float(value)) < 1e-5 for value in parts.values())
    for head in student:
        np.testing.assert_allclose(head.grad.numpy(), 0, atol=1e-6)


@pytest.mark.parametrize(("channel", "part"), [(0, "box"), (3, "box"), (4, "objectness"), (5, "class"), (13, "class")])
def test_each_number_counts_in_its_own_part(channel: int, part: str) -> None:
    teacher = random_heads(np.random.default_rng(1), 1)
    moved = [head.copy() for head in teacher]
    moved[0][0, channel, 0, 0] += 1
    parts = {k: float(v) for k, v in head_distances(tensors(moved), tensors(teacher), Params).items()}
    assert parts.pop(part) > 1e-4
    assert all(abs(value) < 1e-5 for value in parts.values())


def test_logits_of_any_size_are_finite() -> None:
    student = [np.full_like(head, 90) for head in random_heads(np.random.default_rng(2), 1)]
    teacher = [-head for head in student]
    parts = head_distances(tensors(student), tensors(teacher), Params)
    assert all(np.isfinite(float(value)) for value in parts.values())
    assert float(parts["objectness"]) == pytest.approx(90 * (3 * 1 + 2 * 4), rel=1e-3)  # wholly wrong: the logit itself


def test_features_against_numpy() -> None:
    rng = np.random.default_rng(3)
    theirs = {"a": rng.normal(size=(2, 5, 3, 4)).astype("f4"), "b": rng.normal(size=(2, 3, 1, 1)).astype("f4")}
    mine = {"a": rng.normal(size=(2, 2, 3, 4)).astype("f4"), "b": rng.normal(size=(2, 3, 1, 1)).astype("f4")}
    kept = {"a": np.array([1, 4]), "elsewhere": np.array([0])}
    found = feature_distance(*({k: paddle.to_tensor(v) for k, v in maps.items()} for maps in (mine, theirs)), kept)
    chosen = theirs["a"][:, [1, 4]]
    shares = [((mine["a"] - chosen) ** 2).mean() / (chosen**2).mean()]
    shares.append(((mine["b"] - theirs["b"]) ** 2).mean() / (theirs["b"] ** 2).mean())
    assert float(found) == pytest.approx(np.mean(shares), rel=1e-5)


def test_features_that_agree_and_maps_of_zeros() -> None:
    a = paddle.to_tensor(np.random.default_rng(4).normal(size=(1, 4, 2, 2)).astype("f4"))
    kept = {"a": np.array([0, 2])}
    assert float(feature_distance({"a": a[:, ::2]}, {"a": a}, kept)) == 0
    nothing = paddle.zeros([1, 4, 2, 2])
    assert np.isfinite(float(feature_distance({"a": a}, {"a": nothing}, {})))


def test_maps_are_recorded_inside_only(tiny: paddle.nn.Layer) -> None:
    image = paddle.rand([1, 3, SIDE, SIDE])
    with recorded(tiny, ["conv2", "neck"]) as maps:
        tiny(image)
        assert {name: list(value.shape) for name, value in maps.items()} == {
            "conv2": [1, 4, SIDE // 2, SIDE // 2],
            "neck": [1, 26, SIDE // 32, SIDE // 32],
        }
        maps.clear()
    tiny(image)
    assert maps == {}
