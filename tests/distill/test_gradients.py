"""The static program's gradients are those of the dynamic network."""

from __future__ import annotations

from typing import Dict, List, Tuple

import numpy as np
import pytest

from ppsplit.distill.distances import PARTS, feature_distance, head_distances
from ppsplit.distill.gradients import Gradients
from ppsplit.distill.teacher import leave_out
from ppsplit.distill.walk import recorded
from ppsplit.paddle_first import paddle
from ppsplit.prune.channels import Pruner
from tests.models.seeded import random_image
from tests.prune.conftest import SIDE, state

WEIGHT = 10.0
CLOSE = 1e-4  # of a gradient's largest value; oneDNN adds up in another order

Maps = Dict[str, np.ndarray]


def asked(network: paddle.nn.Layer, names: List[str], side: int) -> Tuple[List[np.ndarray], Maps]:
    images = np.stack([random_image(seed, side, side) for seed in range(2)])
    with recorded(network, names) as maps, paddle.no_grad():
        heads = [head.numpy() for head in network(paddle.to_tensor(images))]
    return heads, {"images": images, **{name: tensor.numpy() for name, tensor in maps.items()}}


def dynamic(network: paddle.nn.Layer, given: np.ndarray, heads: List[np.ndarray], maps: Maps, kept: Maps) -> Maps:
    with recorded(network, list(maps)) as mine:
        found = network(paddle.to_tensor(given))
    parts = head_distances(found, [paddle.to_tensor(head) for head in heads], network.params)
    theirs = {name: paddle.to_tensor(array) for name, array in maps.items()}
    parts["feature"] = feature_distance(mine, theirs, kept) * WEIGHT
    paddle.add_n(list(parts.values())).backward()
    gradients = {n: t.grad.numpy() for n, t in network.state_dict().items() if t.grad is not None}
    network.clear_gradients()
    return {**gradients, **{name: parts[name].numpy() for name in PARTS}}


@pytest.mark.parametrize(
    ("pruned", "start", "compared"),
    [
        ({"conv2": 2, "conv6": 20}, [], ["conv4", "conv6", "neck"]),
        ({"conv6": 20, "lateral": 8}, ["conv1", "pool1", "conv2", "pool2", "conv3", "pool3"], ["conv5", "conv6"]),
    ],
)
def test_gradients(
    tiny: paddle.nn.Layer, tiny_pruner: Pruner, pruned: Dict[str, int], start: List[str], compared: List[str]
) -> None:
    kept = tiny_pruner.kept(pruned)
    student = tiny_pruner.pruned(kept)
    gradients = Gradients(student, start, compared, kept, WEIGHT)
    rest = leave_out(student, start)
    learnt = {name for name in student.state_dict() if name.split(".")[0] not in start and "_" not in name[-9:]}
    for side, shift in ((SIDE, 0.0), (96, 0.0), (SIDE, 0.01)):  # other sizes; and weights that have been changed
        student.neck.conv.weight.set_value(student.neck.conv.weight + shift)
        heads, maps = asked(tiny, [*compared, *start[-1:]], side)
        given = maps.pop("images")
        given = maps.pop(start[-1]) if start else given
        expected = dynamic(rest, given, heads, maps, kept)
        before = state(student)
        distances = gradients(given, heads, maps)
        for part in PARTS:
            np.testing.assert_allclose(distances[part], expected[part], rtol=CLOSE, atol=1e-6)
        assert set(gradients.learnt) == learnt
        for name, tensor in gradients.learnt.items():
            found = tensor.grad.numpy()
            assert np.abs(found - expected[name]).max() <= CLOSE * np.abs(expected[name]).max(), (side, name)
        assert all((state(student)[name] == values).all() for name, values in before.items())
        student.clear_gradients()


def test_an_optimizer_takes_them(tiny: paddle.nn.Layer, tiny_pruner: Pruner) -> None:
    kept = tiny_pruner.kept({"conv6": 20})
    student = tiny_pruner.pruned(kept)
    gradients = Gradients(student, [], ["conv6"], kept, WEIGHT)
    optimizer = paddle.optimizer.SGD(1e-4, parameters=list(gradients.learnt.values()))
    heads, maps = asked(tiny, ["conv6"], SIDE)
    given = maps.pop("images")
    sums = []
    for _ in range(4):
        sums.append(sum(gradients(given, heads, maps).values()))
        optimizer.step()
        optimizer.clear_grad()
    assert sums == sorted(sums, reverse=True) and sums[-1] < sums[0]
    assert paddle.in_dynamic_mode()
