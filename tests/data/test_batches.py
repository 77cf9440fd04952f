"""Batches are functions of seed, epoch and number, and processes together see the global batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppsplit.data.augment import Augmentation
from ppsplit.data.batches import NO_CLASS, Batch, BatchPlan, BatchSource
from ppsplit.data.layout import find_split
from ppsplit.data.training_set import TrainingSet
from ppsplit.errors import ConfigError
from ppsplit.image import Preprocess

ALL = Augmentation(mosaic=0.5, mixup=0.5)


def source(shapes: Path, rank: int = 0, world: int = 1, workers: int = 2, seed: int = 7) -> BatchSource:
    data = TrainingSet.open(*find_split(shapes, "train"))
    plan = BatchPlan(len(data.images), 4, seed, (64, 96), rank, world)
    return BatchSource(data, plan, Preprocess((64, 64)), ALL, 1, workers)


def same(a: Batch, b: Batch) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in vars(a))


def test_each_image_is_seen_once_an_epoch() -> None:
    plan = BatchPlan(12, 4, 0, (64,))
    seen = [index for number in range(plan.steps) for index in plan.indices(3, number)]
    assert sorted(seen) == list(range(12))
    assert seen != [index for number in range(plan.steps) for index in plan.indices(4, number)]


def test_processes_share_the_global_batch() -> None:
    whole = BatchPlan(50, 8, 3, (64, 96, 128))
    parts = [BatchPlan(50, 8, 3, (64, 96, 128), rank, 4) for rank in range(4)]
    for number in range(whole.steps):
        shared = [part.indices(1, number) for part in parts]
        assert [index for row in zip(*shared) for index in row] == whole.indices(1, number)
        assert {part.size(1, number) for part in parts} == {whole.size(1, number)}


def test_all_sizes_are_drawn() -> None:
    plan = BatchPlan(400, 4, 0, (64, 96, 128))
    assert {plan.size(0, number) for number in range(plan.steps)} == {64, 96, 128}


@pytest.mark.parametrize(("batch", "world"), [(0, 1), (13, 1), (4, 3)])
def test_a_batch_that_cannot_be_is_refused(batch: int, world: int) -> None:
    with pytest.raises(ConfigError, match="batch"):
        BatchPlan(12, batch, 0, (64,), 0, world)


def test_an_epoch_continues_where_it_was_left(shapes: Path) -> None:
    whole = list(source(shapes).epoch(0))
    rest = list(source(shapes, workers=1).epoch(0, first=1))
    assert len(whole) == 3 and all(same(a, b) for a, b in zip(whole[1:], rest))


def test_epochs_and_seeds_differ(shapes: Path) -> None:
    first = next(source(shapes).epoch(0))
    assert not same(first, next(source(shapes).epoch(1)))
    assert not same(first, next(source(shapes, seed=8).epoch(0)))


def test_two_processes_see_what_one_sees(shapes: Path) -> None:
    one = next(source(shapes).epoch(0))
    parts = [next(source(shapes, rank, 2).epoch(0)) for rank in range(2)]
    np.testing.assert_array_equal(np.stack([p.images for p in parts], axis=1).reshape(one.images.shape), one.images)


def test_what_is_padded_is_no_object(shapes: Path) -> None:
    for batch in source(shapes).epoch(0):
        absent = batch.class_ids == NO_CLASS
        assert not batch.boxes_xyxy[absent].any() and not batch.weights[absent].any()
        assert (batch.boxes_xyxy[~absent][:, 2:] > batch.boxes_xyxy[~absent][:, :2]).all()
        side = batch.images.shape[2]
        assert batch.boxes_xyxy.min() >= 0 and batch.boxes_xyxy.max() <= side
        assert batch.images.dtype == np.float32 and 0 <= batch.images.min() <= batch.images.max() <= 1


def test_mixing_ends(shapes: Path) -> None:
    mixed = source(shapes)
    assert mixed.mixing_epochs == 1
    assert all((batch.weights[batch.weights > 0] == 1).all() for batch in mixed.epoch(1))
