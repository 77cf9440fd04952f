"""Fine-tuning step by step: what is learnt, what is left alone, and when it cannot go on."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest

from ppsplit.data.augment import Augmentation
from ppsplit.data.image_folder import unlabelled_set
from ppsplit.distill.finetune import Distillation, FineTuning
from ppsplit.errors import ConfigError, TrainingError
from ppsplit.image import Preprocess
from ppsplit.paddle_first import paddle
from ppsplit.prune.channels import Pruner
from ppsplit.train.listener import Listener, Step
from ppsplit.train.log import read_log

from .conftest import SIDE, state

PLAN = FineTuning(
    images=16,
    batch=4,
    input_sizes=(SIDE, 96),
    lr=0.001,
    warmup_steps=1,
    feature_weight=10.0,
    clip_norm=100.0,
    ema_decay=0.9,
    augmentation=Augmentation(0.5, 0.3, 0.2, 0.3),
    seed=0,
    workers=1,
    save_every=100,
)


class Steps(Listener):
    def __init__(self) -> None:
        self.heard: List[Step] = []

    def stepped(self, step: Step) -> None:
        self.heard.append(step)


def distillation(
    pruner: Pruner, photos: Path, folder: Path, drop: "tuple[str, ...]" = ("conv7",), **changed: Any
) -> Distillation:
    kept = pruner.kept({name: pruner.groups[name].channels // 2 for name in drop})
    student, data = pruner.pruned(kept), unlabelled_set(photos)
    preprocess = Preprocess((SIDE, SIDE))
    plan = replace(PLAN, **changed)
    return Distillation(student, pruner.network, kept, data, preprocess, plan, folder, {"a": 1}, Steps())


def test_what_the_teacher_runs_is_left_alone(tiny_pruner: Pruner, photos: Path, tmp_path: Path) -> None:
    whole = state(tiny_pruner.network)
    tuning = distillation(tiny_pruner, photos, tmp_path)
    before = state(tuning.learner.network)
    assert tuning.start == "conv5"
    assert tuning.gradients.compared == ["conv6", "conv7", "neck", "head32_conv", "lateral", "head16_conv"]
    result = tuning.run()
    after, averaged = state(tuning.learner.network), state(result)
    front = tuple(f"conv{i}." for i in range(1, 6))
    for name, array in before.items():
        same = name.startswith(front) or name.endswith(("_mean", "_variance"))
        assert np.array_equal(array, after[name]) == same, name
        np.testing.assert_allclose(averaged[name], after[name], atol=0.05)
        if same:
            np.testing.assert_allclose(averaged[name], array, rtol=1e-5)
    assert all(np.array_equal(array, whole[name]) for name, array in state(tiny_pruner.network).items())


def test_the_log_and_what_is_heard(tiny_pruner: Pruner, photos: Path, tmp_path: Path) -> None:
    tuning = distillation(tiny_pruner, photos, tmp_path, ("conv1",))
    assert tuning.start is None
    tuning.run()
    rows = read_log(tmp_path / "steps.csv")
    assert [(int(row["step"]), int(row["epoch"])) for row in rows] == [(1, 0), (2, 0), (3, 0), (4, 1)]
    assert {int(row["input_side"]) for row in rows} <= {SIDE, 96}
    for row, step in zip(rows, tuning.listener.heard):  # type: ignore[attr-defined]
        parts = [float(row[part]) for part in ("box", "objectness", "class", "feature")]
        assert float(row["loss"]) == pytest.approx(sum(parts)) and min(parts) > 0
        assert (step.step, step.steps) == (int(row["step"]), 4) and step.seconds_left >= 0


def test_nothing_pruned_is_nothing_to_learn(tiny_pruner: Pruner, photos: Path, tmp_path: Path) -> None:
    tuning = distillation(tiny_pruner, photos, tmp_path, ())
    tuning.run()
    first = read_log(tmp_path / "steps.csv")[0]  # later Adam makes steps of the noise's gradient
    assert abs(float(first["loss"])) < 1e-3  # two runtimes differ by rounding alone


def test_it_gets_nearer(tiny_pruner: Pruner, photos: Path, tmp_path: Path) -> None:
    still = Augmentation(0, 0, 0, 0)
    tuning = distillation(tiny_pruner, photos, tmp_path, images=120, augmentation=still, input_sizes=(SIDE,), lr=0.003)
    tuning.run()
    losses = [float(row["loss"]) for row in read_log(tmp_path / "steps.csv")]
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])


def test_a_batch_larger_than_the_set(tiny_pruner: Pruner, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch must be 1..12"):
        distillation(tiny_pruner, photos, tmp_path, images=40, batch=20)


def test_the_seconds_of_each_step_are_noted(tiny_pruner: Pruner, photos: Path, tmp_path: Path) -> None:
    """All of them: with the wait for photos and what was saved they are the time of the whole."""
    began = time.perf_counter()
    tuning = distillation(tiny_pruner, photos, tmp_path, save_every=1)
    made = time.perf_counter()
    tuning.run()
    ended = time.perf_counter()
    seconds = [float(row["seconds"]) for row in read_log(tmp_path / "steps.csv")]
    assert len(seconds) == 4 and min(seconds) > 0
    assert sum(seconds) <= ended - made + 0.001 < ended - began + 0.001


def test_a_log_without_seconds_goes_on(tiny_pruner: Pruner, photos: Path, tmp_path: Path) -> None:
    """Begun before they were noted."""
    whole, run = tmp_path / "whole", tmp_path / "run"
    distillation(tiny_pruner, photos, whole, save_every=3).run()
    run.mkdir()
    shutil.copy(whole / "state.npz", run)
    lines = [line.rpartition(",")[0] for line in (whole / "steps.csv").read_text().splitlines()]
    (run / "steps.csv").write_text("\n".join(lines[:4]) + "\n")
    distillation(tiny_pruner, photos, run, save_every=3).run()
    assert [bool(row["seconds"]) for row in read_log(run / "steps.csv")] == [False, False, False, True]


@pytest.mark.parametrize("spoil", [lambda data: data[: len(data) // 2], lambda data: b""])
def test_a_damaged_state_says_what_helps(tiny_pruner: Pruner, photos: Path, tmp_path: Path, spoil: Any) -> None:
    distillation(tiny_pruner, photos, tmp_path, save_every=2).run()
    state_file = tmp_path / "state.npz"
    state_file.write_bytes(spoil(state_file.read_bytes()))
    with pytest.raises(TrainingError) as caught:
        distillation(tiny_pruner, photos, tmp_path).run()
    assert str(state_file) in str(caught.value)
    assert "delete that file and run the same command with --resume" in str(caught.value)
    state_file.unlink()
    distillation(tiny_pruner, photos, tmp_path).run()


def test_a_loss_that_is_not_finite(tiny_pruner: Pruner, photos: Path, tmp_path: Path) -> None:
    tuning = distillation(tiny_pruner, photos, tmp_path)
    tuning.learner.network.head16.conv.bias.set_value(paddle.full([24], float("nan")))
    with pytest.raises(TrainingError, match="the loss is not finite at step 1 .*give a lower --lr"):
        tuning.run()


def test_a_state_of_another_pruning(tiny_pruner: Pruner, photos: Path, tmp_path: Path) -> None:
    distillation(tiny_pruner, photos, tmp_path, save_every=2).run()
    other = distillation(tiny_pruner, photos, tmp_path)
    other.identity = {"a": 2}
    with pytest.raises(TrainingError):
        other.run()
