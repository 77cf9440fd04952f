"""The loop: batches in, weights, logs and checkpoints out. Killed at any moment it goes on exactly."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Dict, Optional, Tuple

from ppsplit.data.batches import Batch, BatchPlan, BatchSource
from ppsplit.data.coco import CocoSet
from ppsplit.data.layout import find_split
from ppsplit.data.training_set import TrainingSet
from ppsplit.errors import ConfigError, TrainingError
from ppsplit.files import sha256_of
from ppsplit.image import Preprocess
from ppsplit.models import model_family
from ppsplit.models.blocks import ConvBN
from ppsplit.models.checkpoint import save_checkpoint
from ppsplit.paddle_first import paddle
from ppsplit.train.average_precision import network_ap
from ppsplit.train.config import TrainConfig
from ppsplit.train.ema import AveragedNetwork
from ppsplit.train.listener import Listener, Step
from ppsplit.train.log import CsvLog
from ppsplit.train.loss import PARTS, YoloV3Loss
from ppsplit.train.parallel import Processes
from ppsplit.train.plots import plot_ap, plot_loss
from ppsplit.train.schedule import Schedule
from ppsplit.train.setup import backbone_network, fresh_network, pretrained_network
from ppsplit.train.state import Learner, Position, all_finite
from ppsplit.train.sync_bn import share_batch_norm

LAST, MODEL, BEST = "last.npz", "model.npz", "best.npz"
STEP_COLUMNS = ("step", "epoch", "lr", "loss", *PARTS, "input_side", "images_per_s")
AP_COLUMNS = ("step", "epoch", "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
SPEED_MEMORY = 0.9  # how much of the speed shown is of earlier steps


class Training:
    """A training, ready to run.

    Args:
        config: all that was chosen.
        weights: the file to begin with, of which `config.backbone` takes the backbone only; None for random weights.
        processes: this process among its fellows.
        listener: hears of progress, in the first process.

    Raises:
        ConfigError, DataError, WeightsError: something chosen cannot be used.
    """

    def __init__(self, config: TrainConfig, weights: Optional[Path], processes: Processes, listener: Listener) -> None:
        self.config = config
        self.processes = processes
        self.listener = listener if processes.leads else Listener()
        self.output = Path(config.output)
        if config.amp and paddle.device.get_device() == "cpu":
            raise ConfigError("amp needs a GPU; leave --amp out on a CPU")
        annotations, images = find_split(config.root, config.train_split)
        self.data = TrainingSet.open(annotations, images)
        self.val = CocoSet.open(*find_split(config.root, config.val_split)) if config.val_split else None
        self.identity = {**config.identity(), "annotations_sha256": sha256_of(annotations)}
        network, preprocess = self._network(weights)
        network.class_names = self.data.category_names
        self.preprocess = replace(preprocess, input_hw=(config.side, config.side))
        if self.val is not None and self.val.category_ids != self.data.category_ids:
            raise ConfigError(
                f"{config.train_split} and {config.val_split} have other categories; use splits of one set"
            )
        plan = BatchPlan(
            len(self.data.images), config.batch, config.seed, config.input_sizes, processes.rank, processes.world
        )
        self.source = BatchSource(
            self.data, plan, self.preprocess, config.augmentation, config.last_mixing_epoch, config.workers
        )
        self.average = AveragedNetwork(network, config.ema_decay)  # before batch normalisation is shared
        if processes.world > 1:
            processes.spread(network)
            share_batch_norm(network)
        self.loss = YoloV3Loss(network.params, config.ignore_threshold, config.label_smoothing)
        self.steps = plan.steps * config.epochs
        self.schedule = Schedule(config.lr, self.steps, config.warmup_steps, config.decay, config.milestones)
        self.learner = Learner(network, self.average.network, _optimizer(network, config))
        self._images_per_s = 0.0

    def run(self) -> Path:
        """Learn to the end.

        Returns:
            the file with the averaged weights.
        """
        position = self._begin()
        if self.processes.leads:
            self.step_log = CsvLog(self.output / "steps.csv", STEP_COLUMNS, position.step)
            self.ap_log = CsvLog(self.output / "ap.csv", AP_COLUMNS, position.step)
        for line in self.data.problems.lines():
            self.listener.say(line)
        told = self.data.problems.counts()
        while position.epoch < self.config.epochs:
            position = self._epoch(position)
        if self.data.problems.counts() != told:  # bad files show when they are read
            for line in self.data.problems.lines():
                self.listener.say(line)
        return self.output / MODEL

    def _begin(self) -> Position:
        last = self.output / LAST
        if self.config.resume and last.is_file():
            position = self.learner.restore(last, self.identity)
            self.listener.say(f"going on from {last}: epoch {position.epoch}, step {position.step} of {self.steps}")
            return position
        if last.is_file():
            raise ConfigError(f"{last} is there already; go on with --resume, or give another --output")
        return Position()

    def _network(self, weights: Optional[Path]) -> Tuple[paddle.nn.Layer, Preprocess]:
        config, classes = self.config, len(self.data.category_names)
        if weights is None:
            return fresh_network(config.model, classes, config.width, config.seed), model_family(
                config.model
            ).preprocess
        begin = pretrained_network if config.backbone is None else backbone_network
        network, preprocess, note = begin(config.model, weights, classes, config.seed)
        if note:
            self.listener.say(note)
        return network, preprocess

    def _epoch(self, position: Position) -> Position:
        """Learn what is left of an epoch, measure, save."""
        self._to_training_mode()
        for batch in self.source.epoch(position.epoch, position.number):
            self._step(batch, position)
            position = replace(position, number=position.number + 1, step=position.step + 1)
            within = position.number < self.source.plan.steps
            if within and self.config.save_every and position.step % self.config.save_every == 0:
                self._save(position)
        done = position.epoch + 1
        if done % self.config.eval_every == 0 or done == self.config.epochs:
            position = self._measure(position)
        position = replace(position, epoch=done, number=0)
        self._save(position)  # last, so that a kill before it repeats the epoch's end and nothing is skipped
        return position

    def _to_training_mode(self) -> None:
        self.learner.network.train()
        if self.config.freeze_bn:
            for layer in self.learner.network.sublayers():
                if isinstance(layer, ConvBN):
                    layer.bn.eval()

    def _step(self, batch: Batch, position: Position) -> None:
        began = time.perf_counter()
        network, optimizer = self.learner.network, self.learner.optimizer
        rate = self.schedule.rate(position.step)
        optimizer.set_lr(rate)
        with paddle.amp.auto_cast(enable=self.config.amp, dtype="bfloat16"):
            heads = network(paddle.to_tensor(batch.images))
        parts = self.loss(heads, batch)
        paddle.add_n(list(parts.values())).backward()
        self.processes.average_gradients(network)
        optimizer.step()
        optimizer.clear_grad()
        self.average.update(network, position.step)
        self._report(parts, batch, position, rate, began)

    def _report(
        self, parts: Dict[str, paddle.Tensor], batch: Batch, position: Position, rate: float, began: float
    ) -> None:
        values = paddle.stack([parts[name].detach() for name in PARTS])
        self.processes.average([values])
        losses = dict(zip(PARTS, (float(value) for value in values.numpy())))
        if not all_finite(losses):
            raise TrainingError(
                f"the loss is not finite at step {position.step + 1} ({losses}); give a lower --lr, a longer "
                "--warmup-steps or a lower --clip-norm"
            )
        if not self.processes.leads:
            return
        now = self.config.batch / max(1e-9, time.perf_counter() - began)
        self._images_per_s = SPEED_MEMORY * (self._images_per_s or now) + (1 - SPEED_MEMORY) * now
        row = {"lr": rate, "loss": sum(losses.values()), **losses, "images_per_s": round(self._images_per_s, 2)}
        done = position.step + 1
        place = {"step": done, "epoch": position.epoch, "input_side": batch.images.shape[2]}
        self.step_log.write({**row, **place})
        left = (self.steps - done) * self.config.batch / self._images_per_s
        self.listener.stepped(Step(done, self.steps, position.epoch, row, left))

    def _measure(self, position: Position) -> Position:
        """AP of the averaged weights; they are written, and once more if they are the best."""
        best = position.best_ap
        network = self.learner.averaged
        precision = network_ap(network, self.val, self.preprocess, 8, self.processes) if self.val else {}
        if self.processes.leads:
            save_checkpoint(network, self.output / MODEL, self.preprocess)
            if precision:
                row = {"step": position.step, "epoch": position.epoch, **precision}
                self.ap_log.write(row)
                self.listener.measured(row)
                if precision["ap"] > best:
                    best = precision["ap"]
                    save_checkpoint(network, self.output / BEST, self.preprocess)
                plot_ap(self.ap_log.path, self.output / "plots" / "ap.png")
            plot_loss(self.step_log.path, self.output / "plots" / "loss.png", PARTS)
        return replace(position, best_ap=best)

    def _save(self, position: Position) -> None:
        if self.processes.leads:
            self.learner.save(self.output / LAST, position, self.identity)
        self.processes.wait()


def _optimizer(network: paddle.nn.Layer, config: TrainConfig) -> paddle.optimizer.Optimizer:
    """SGD with momentum; weight decay on convolutions only, gradients clipped by their common norm."""
    kernels = [parameter for parameter in network.parameters() if len(parameter.shape) == 4]
    others = [parameter for parameter in network.parameters() if len(parameter.shape) != 4]
    return paddle.optimizer.Momentum(
        learning_rate=config.lr,
        momentum=config.momentum,
        parameters=[
            {"params": kernels, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        grad_clip=paddle.nn.ClipGradByGlobalNorm(config.clip_norm),
    )
