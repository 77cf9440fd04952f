"""What PaddleSlim learns from us: without concat, the layers in front of one are in no group at all."""

from __future__ import annotations

import subprocess
import sys

import pytest
from paddleslim.prune.prune_worker import PRUNE_WORKER

from ppsplit.paddle_first import paddle
from ppsplit.prune.channels import Pruner
from ppsplit.prune.slim_operators import bilinear_interp_v2, concat, nearest_interp_v2, register_operators


def test_without_concat_its_inputs_cannot_be_pruned(
    tiny: paddle.nn.Layer, tiny_pruner: Pruner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(PRUNE_WORKER.module_dict, "concat")
    monkeypatch.setattr("ppsplit.prune.slim_operators.register_operators", lambda: None)
    without = Pruner(tiny, "l1").groups
    assert set(tiny_pruner.groups) - set(without) == {"conv5", "lateral"}
    assert all(group == tiny_pruner.groups[name] for name, group in without.items())  # nothing half found


def test_registering_again_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    register_operators()
    before = dict(PRUNE_WORKER.module_dict)
    register_operators()
    assert PRUNE_WORKER.module_dict == before
    for worker in (concat, nearest_interp_v2, bilinear_interp_v2):
        assert PRUNE_WORKER.get(worker.__name__) is worker
    monkeypatch.setitem(PRUNE_WORKER.module_dict, "concat", object)  # a PaddleSlim that knows it itself
    register_operators()
    assert PRUNE_WORKER.get("concat") is object


class Joined(paddle.nn.Layer):  # type: ignore[misc]
    """Two convolutions joined along an axis, and one that reads both."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.a, self.b = Plain(3, 4), Plain(3, 6 if axis == 1 else 4)
        self.c = Plain(10 if axis == 1 else 4, 5)
        self.d = Plain(5, 2)

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        return self.d(self.c(paddle.concat([self.a(image), self.b(image)], axis=self.axis)))


class Plain(paddle.nn.Layer):  # type: ignore[misc]
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = paddle.nn.Conv2D(inputs, outputs, 1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.conv(x)


def test_channels_joined_along_another_axis_are_left_alone() -> None:
    paddle.seed(0)
    assert {name: group.channels for name, group in Pruner(Joined(1), "l1").groups.items()} == {"a": 4, "b": 6, "c": 5}
    assert set(Pruner(Joined(2), "l1").groups) == {"c"}  # above each other: both would have to lose the same ones


def test_importing_registers_nothing() -> None:
    script = (
        "from paddleslim.prune.prune_worker import PRUNE_WORKER; before = dict(PRUNE_WORKER.module_dict); "
        "import ppsplit.prune.criteria, ppsplit.prune.steps; assert PRUNE_WORKER.module_dict == before"
    )
    subprocess.run([sys.executable, "-c", "import ppsplit.paddle_first; " + script], check=True, timeout=120)
