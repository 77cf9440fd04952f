"""A pruned or quantized network learns to do what the whole one does. Killed at any moment it goes on exactly."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

import numpy as np

from ppsplit.data.augment import Augmentation
from ppsplit.data.batches import BatchPlan, BatchSource
from ppsplit.data.training_set import TrainingSet
from ppsplit.distill.distances import PARTS
from ppsplit.distill.gradients import Dress, Gradients
from ppsplit.distill.teacher import Teacher, coarse_layers, shared_start, start_of
from ppsplit.errors import TrainingError
from ppsplit.image import Preprocess
from ppsplit.paddle_first import paddle
from ppsplit.train.ema import AveragedNetwork
from ppsplit.train.listener import Listener, Step
from ppsplit.train.log import CsvLog
from ppsplit.train.schedule import Schedule
from ppsplit.train.state import Learner, Position, all_finite

COLUMNS = ("step", "epoch", "lr", "loss", *PARTS, "input_side", "images_per_s", "seconds")
SPEED_MEMORY = 0.9  # how much of the speed shown is of earlier steps


@dataclass(frozen=True)
class FineTuning:
    """How to fine-tune.

    Attributes:
        images: learnt from, each repetition counted.
        batch: images of a step.
        input_sizes: input sides in pixels; every batch has one of them.
        lr: of Adam, after warm-up; falls as a cosine.
        warmup_steps: of the learning rate.
        feature_weight: of the distance between maps, beside that between heads.
        clip_norm: gradients are scaled down to this norm.
        ema_decay: of the averaged weights, which are kept.
        augmentation: of the images.
        seed: of everything random.
        workers: threads that read images.
        save_every: steps between two states to resume from.
    """

    images: int
    batch: int
    input_sizes: "tuple[int, ...]"
    lr: float
    warmup_steps: int
    feature_weight: float
    clip_norm: float
    ema_decay: float
    augmentation: Augmentation
    seed: int
    workers: int
    save_every: int

    @property
    def steps(self) -> int:
        """Of the whole fine-tuning."""
        return max(1, self.images // self.batch)


class Distillation:
    """One fine-tuning of one network.

    Args:
        student: is trained, but for parameters that stop gradients.
        teacher: what it came from.
        kept: layer to int64, which of the teacher's channels the student still has.
        data: images; their labels are not looked at.
        preprocess: how images become the input.
        plan: how.
        folder: for `state.npz` to resume from and `steps.csv`.
        identity: what decides the result beside the data; a state of another one is refused.
        listener: hears of progress.
        dress: as `Gradients` takes it, where the student computes something else than its layers say.

    Raises:
        ConfigError: a batch is larger than the set.
    """

    def __init__(
        self,
        student: paddle.nn.Layer,
        teacher: paddle.nn.Layer,
        kept: Mapping[str, np.ndarray],
        data: TrainingSet,
        preprocess: Preprocess,
        plan: FineTuning,
        folder: Path,
        identity: Dict[str, Any],
        listener: Listener,
        dress: Optional[Dress] = None,
    ) -> None:
        self.plan, self.folder, self.listener, self.identity = plan, folder, listener, identity
        self.start = shared_start(student, teacher) if dress is None else None
        start = start_of(student, self.start) if self.start else []
        compared = [name for name in coarse_layers(teacher) if name.split(".")[0] not in start]
        self.gradients = Gradients(student, start, compared, kept, plan.feature_weight, dress)
        self.teacher = Teacher(teacher, [*compared, *start[-1:]], plan.input_sizes)
        batches = BatchPlan(len(data.images), plan.batch, plan.seed, plan.input_sizes)
        self.source = BatchSource(data, batches, preprocess, plan.augmentation, 0, plan.workers)
        self.average = AveragedNetwork(student, plan.ema_decay)
        self.schedule = Schedule(plan.lr, plan.steps, plan.warmup_steps)
        optimizer = paddle.optimizer.Adam(
            learning_rate=plan.lr,
            parameters=list(self.gradients.learnt.values()),
            grad_clip=paddle.nn.ClipGradByGlobalNorm(plan.clip_norm),
        )
        self.learner = Learner(student, self.average.network, optimizer)
        self._images_per_s = 0.0

    def run(self) -> paddle.nn.Layer:
        """Learn to the end; returns the network with the averaged weights."""
        state = self.folder / "state.npz"
        position = self.learner.restore(state, self.identity) if state.is_file() else Position()
        log = CsvLog(self.folder / "steps.csv", COLUMNS, position.step)
        began = time.perf_counter()
        while position.step < self.plan.steps:
            for batch in self.source.epoch(position.epoch, position.number):
                row = self._step(batch.images, position)
                seconds, began = time.perf_counter() - began, time.perf_counter()
                log.write({**row, "seconds": round(seconds, 4)})
                position = replace(position, number=position.number + 1, step=position.step + 1)
                if position.step % self.plan.save_every == 0:
                    self.learner.save(state, position, self.identity)
                if position.step == self.plan.steps:
                    break
            else:
                position = replace(position, epoch=position.epoch + 1, number=0)
        return self._with_start(self.learner.averaged)

    def _with_start(self, averaged: paddle.nn.Layer) -> paddle.nn.Layer:
        """The averaged network with its start as it was, to the bit: averaging what does not change rounds it."""
        averaged_state = averaged.state_dict()
        for name, tensor in self.learner.network.state_dict().items():
            if name not in self.gradients.learnt:
                averaged_state[name].set_value(tensor)
        return averaged

    def _step(self, images: np.ndarray, position: Position) -> Dict[str, Any]:
        began = time.perf_counter()
        rate = self.schedule.rate(position.step)
        self.learner.optimizer.set_lr(rate)
        heads, maps = self.teacher(images)
        parts = self.gradients(maps[self.start] if self.start else images, heads, maps)
        self.learner.optimizer.step()
        self.learner.optimizer.clear_grad()
        self.average.update(self.learner.network, position.step)
        return self._row(parts, images, position, rate, began)

    def _row(
        self, losses: Dict[str, float], images: np.ndarray, position: Position, rate: float, began: float
    ) -> Dict[str, Any]:
        if not all_finite(losses):
            raise TrainingError(f"the loss is not finite at step {position.step + 1} ({losses}); give a lower --lr")
        now = len(images) / max(1e-9, time.perf_counter() - began)
        self._images_per_s = SPEED_MEMORY * (self._images_per_s or now) + (1 - SPEED_MEMORY) * now
        done = position.step + 1
        row = {"lr": rate, "loss": sum(losses.values()), **losses, "images_per_s": round(self._images_per_s, 2)}
        left = (self.plan.steps - done) * self.plan.batch / self._images_per_s
        self.listener.stepped(Step(done, self.plan.steps, position.epoch, row, left))
        return {**row, "step": done, "epoch": position.epoch, "input_side": images.shape[2]}
