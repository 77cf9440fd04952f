"""Training batches as pure functions of (seed, epoch, number): resuming and sharing the work change nothing.

A process of `world` takes every `world`-th sample of each global batch, so the processes together see what one
process alone would see, at the same input size and with the same augmentation.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Deque, Iterator, List, Sequence, Tuple

import numpy as np

from ppsplit.data import augment
from ppsplit.data.augment import Augmentation
from ppsplit.data.sample import Sample, read_sample
from ppsplit.data.training_set import TrainingSet
from ppsplit.errors import ConfigError
from ppsplit.image import Preprocess, fit, normalise

# what a generator is for: the same seed, epoch and index must not give related numbers for two purposes
_ORDER, _SIZE, _SAMPLE = range(3)
NO_CLASS = -1
AHEAD = 2  # batches that are prepared while one is being learnt


@dataclass(frozen=True)
class Batch:
    """What one step learns from. B images, at most M objects each.

    Attributes:
        images: float32 [B, 3, S, S].
        boxes_xyxy: float32 [B, M, 4] in input pixels; zeros where there is no object.
        class_ids: int64 [B, M]; `NO_CLASS` where there is no object, `CROWD_CLASS` for a crowd.
        weights: float32 [B, M]; 0 where there is no object.
    """

    images: np.ndarray
    boxes_xyxy: np.ndarray
    class_ids: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class BatchPlan:
    """Which samples, at which size, in which batch.

    Attributes:
        count: samples in the set.
        batch: samples of a global batch. What an epoch's last batch would lack is left out of that epoch.
        seed: of everything random.
        sizes: input sides to choose from for each batch.
        rank, world: this process and how many there are.

    Raises:
        ConfigError: the batch is larger than the set, or cannot be shared out.
    """

    count: int
    batch: int
    seed: int
    sizes: Tuple[int, ...]
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.batch <= self.count:
            raise ConfigError(f"batch must be 1..{self.count}, the images of the set, not {self.batch}")
        if self.batch % self.world:
            raise ConfigError(f"a batch of {self.batch} cannot be shared by {self.world} processes; give a multiple")

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return self.count // self.batch

    def indices(self, epoch: int, number: int) -> List[int]:
        """This process's samples of batch `number` of `epoch`."""
        order = generator(self.seed, _ORDER, epoch).permutation(self.count)
        chosen = order[number * self.batch : (number + 1) * self.batch]
        return [int(index) for index in chosen[self.rank :: self.world]]

    def size(self, epoch: int, number: int) -> int:
        """The input side of batch `number` of `epoch`, the same in every process."""
        return self.sizes[int(generator(self.seed, _SIZE, epoch, number).integers(len(self.sizes)))]


def generator(seed: int, *purpose: int) -> np.random.Generator:
    """Random numbers that depend on these numbers and on nothing else."""
    return np.random.Generator(np.random.PCG64([seed, *purpose]))


class BatchSource:
    """Batches of one epoch after the other, read ahead by threads (OpenCV lets go of Python's lock).

    Args:
        data: the set.
        plan: which samples when.
        preprocess: how an image becomes the network's input; its size is the plan's.
        augmentation: how much of each change.
        mixing_epochs: from this epoch on there is no mosaic and no mixup.
        workers: threads.
    """

    def __init__(
        self,
        data: TrainingSet,
        plan: BatchPlan,
        preprocess: Preprocess,
        augmentation: Augmentation,
        mixing_epochs: int,
        workers: int = 2,
    ) -> None:
        self.data = data
        self.plan = plan
        self.preprocess = preprocess
        self.augmentation = augmentation
        self.mixing_epochs = mixing_epochs
        self.workers = workers

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from number `first` on."""
        waiting: Deque[List["Future[Sample]"]] = deque()
        with ThreadPoolExecutor(self.workers) as pool:
            for number in range(first, self.plan.steps):
                size = self.plan.size(epoch, number)
                waiting.append(
                    [pool.submit(self.sample, epoch, index, size) for index in self.plan.indices(epoch, number)]
                )
                if len(waiting) > AHEAD:
                    yield self._collated(waiting.popleft())
            while waiting:
                yield self._collated(waiting.popleft())

    def sample(self, epoch: int, index: int, size: int) -> Sample:
        """Sample `index` as `epoch` sees it, `size` by `size`. The same whenever and wherever it is asked for."""
        rng = generator(self.plan.seed, _SAMPLE, epoch, index)
        wanted = self.augmentation if epoch < self.mixing_epochs else self.augmentation.without_mixing()
        sample = self._augmented(self._mixed(index, size, wanted, rng), wanted, rng)
        pixels, placement = fit(sample.image_rgb, replace(self.preprocess, input_hw=(size, size)))
        boxes = placement.to_input(sample.boxes_xyxy)
        return Sample(pixels, boxes, sample.class_ids, sample.weights).clipped()

    def _mixed(self, index: int, size: int, wanted: Augmentation, rng: np.random.Generator) -> Sample:
        chances, others = rng.random(2), [int(i) for i in rng.integers(len(self.data.images), size=3)]
        first = read_sample(self.data, index)
        if chances[0] < wanted.mosaic:
            return augment.mosaic([first, *(read_sample(self.data, other) for other in others)], size, rng)
        if chances[1] < wanted.mixup:
            return augment.mixup(first, read_sample(self.data, others[0]), rng)
        return first

    @staticmethod
    def _augmented(sample: Sample, wanted: Augmentation, rng: np.random.Generator) -> Sample:
        chances = rng.random(3)
        if wanted.colour:
            sample = augment.jitter_colour(sample, wanted.colour, rng)
        if chances[0] < wanted.expand:
            sample = augment.expand(sample, rng)
        if chances[1] < wanted.crop:
            sample = augment.crop(sample, rng)
        return augment.flip(sample) if chances[2] < wanted.flip else sample

    def _collated(self, waiting: Sequence["Future[Sample]"]) -> Batch:
        return collate([future.result() for future in waiting], self.preprocess)


def collate(samples: Sequence[Sample], preprocess: Preprocess) -> Batch:
    """Samples of one size as a batch, objects padded to the largest number, at least one."""
    most = max(1, *(len(sample.class_ids) for sample in samples))
    boxes = np.zeros((len(samples), most, 4), np.float32)
    class_ids = np.full((len(samples), most), NO_CLASS, np.int64)
    weights = np.zeros((len(samples), most), np.float32)
    for row, sample in enumerate(samples):
        objects = len(sample.class_ids)
        boxes[row, :objects] = sample.boxes_xyxy
        class_ids[row, :objects] = sample.class_ids
        weights[row, :objects] = sample.weights
    images = np.concatenate([normalise(sample.image_rgb, preprocess) for sample in samples])
    return Batch(images, boxes, class_ids, weights)
