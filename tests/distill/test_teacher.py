"""The whole network in Paddle Inference, and the part of the student that it spares."""

from __future__ import annotations

from typing import Optional

import numpy as np
import pytest

from ppsplit.distill.teacher import Teacher, coarse_layers, leave_out, shared_start, start_of
from ppsplit.distill.walk import recorded
from ppsplit.paddle_first import paddle
from ppsplit.prune.channels import Pruner
from tests.models.seeded import random_image

from .conftest import SIDE, difference, heads, state

BACK = (2, 1)  # batches of several sizes


def compare(network: paddle.nn.Layer, stages: "list[str]", sides: "tuple[int, ...]") -> None:
    teacher = Teacher(network, stages, sides)
    for side in sides:
        for count in BACK:
            images = np.stack([random_image(seed, side, side) for seed in range(count)])
            with recorded(network, stages) as maps, paddle.no_grad():
                wanted = [head.numpy() for head in network(paddle.to_tensor(images))]
            found, found_maps = teacher(images)
            assert difference(found, wanted) < 1e-4
            assert list(found_maps) == stages
            for stage in stages:
                assert difference([found_maps[stage]], [maps[stage].numpy()]) < 1e-4, stage


def test_heads_and_maps_of_tiny(tiny: paddle.nn.Layer) -> None:
    before = state(tiny)
    compare(tiny, ["conv7", "pool4", "conv5", "neck", "lateral"], (SIDE, 96))
    assert all((state(tiny)[name] == values).all() for name, values in before.items())


def test_heads_and_maps_of_darknet(darknet: paddle.nn.Layer) -> None:
    compare(darknet, ["stage3", "stage4.block2.expand", "neck16.conv1"], (SIDE,))


def test_heads_alone(tiny: paddle.nn.Layer) -> None:
    found, maps = Teacher(tiny, [], [SIDE])(np.zeros((1, 3, SIDE, SIDE), np.float32))
    assert len(found) == 2 and maps == {}


def check_start(network: paddle.nn.Layer, pruner: Pruner, pruned: "tuple[str, ...]", start: Optional[str]) -> None:
    student = pruner.pruned(pruner.kept(dict.fromkeys(pruned, 2)))
    assert shared_start(student, network) == start
    if start is None:
        return
    with recorded(network, [start]) as maps:
        heads(network)
    rest = leave_out(student, start_of(student, start))
    with paddle.no_grad():
        found = [head.numpy() for head in rest(maps[start])]
    assert difference(found, heads(student)) < 1e-6
    assert len(rest.parameters()) < len(student.parameters())
    own = {id(parameter) for parameter in student.parameters()}
    assert all(id(parameter) in own for parameter in rest.parameters())  # learning the rest is learning the student


@pytest.mark.parametrize(
    ("pruned", "start"),
    [
        (("conv1",), None),
        (("conv2", "neck"), "pool1"),
        (("conv5",), "pool4"),
        (("conv5", "conv7"), "pool4"),
        (("conv7",), "conv5"),  # not pool5: the fine head reads conv5's map as well
        (("head16_conv",), "conv5"),  # what is left out then holds the concat
        ((), "conv5"),
    ],
)
def test_the_start_that_tiny_shares(
    tiny: paddle.nn.Layer, tiny_pruner: Pruner, pruned: "tuple[str, ...]", start: Optional[str]
) -> None:
    check_start(tiny, tiny_pruner, pruned, start)


@pytest.mark.parametrize(
    ("pruned", "start"),
    [
        (("stem",), None),
        (("stage2.down",), "stage1"),
        (("stage4.block1.reduce",), "stage3"),
        (("head8_conv",), "stage3"),
    ],
)
def test_the_start_that_darknet_shares(
    darknet: paddle.nn.Layer, darknet_pruner: Pruner, pruned: "tuple[str, ...]", start: Optional[str]
) -> None:
    check_start(darknet, darknet_pruner, pruned, start)


def test_a_student_in_training_stays_so(tiny: paddle.nn.Layer, tiny_pruner: Pruner) -> None:
    student = tiny_pruner.pruned(tiny_pruner.kept({"conv7": 5}))
    student.train()
    before = state(student)
    assert shared_start(student, tiny) == "conv5"
    assert student.training and student.conv7.bn.training
    assert all((state(student)[name] == values).all() for name, values in before.items())  # statistics, too


def test_layers_that_are_coarse(tiny: paddle.nn.Layer) -> None:
    fine_and_coarse = ["conv4", "conv5", "conv6", "conv7", "neck", "head32_conv", "lateral", "head16_conv"]
    assert sorted(coarse_layers(tiny)) == sorted(fine_and_coarse)
    assert sorted(coarse_layers(tiny, 32)) == ["conv6", "conv7", "head32_conv", "lateral", "neck"]
