"""Boxes stay on their objects whatever is done to an image."""

from __future__ import annotations

from typing import Callable

import numpy as np
import pytest

from ppsplit.data import augment
from ppsplit.data.sample import Sample


def one_block(height: int = 80, width: int = 100) -> Sample:
    """A white block on black, and its box."""
    image = np.zeros((height, width, 3), np.uint8)
    image[20:50, 30:70] = 255
    return Sample(image, np.array([[30, 20, 70, 50]], np.float32), np.array([3]), np.ones(1, np.float32))


def nothing() -> Sample:
    return Sample(np.zeros((40, 60, 3), np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0))


CHANGES = {
    "flip": lambda sample, rng: augment.flip(sample),
    "expand": augment.expand,
    "crop": augment.crop,
    "both": lambda sample, rng: augment.crop(augment.expand(sample, rng), rng),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_box_follows_the_block(change: Callable[..., Sample]) -> None:
    for seed in range(30):
        changed = change(one_block(), np.random.default_rng(seed))
        rows, columns = np.nonzero(changed.image_rgb[..., 0] == 255)
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_array_equal(changed.boxes_xyxy, [seen])
        assert changed.class_ids.tolist() == [3]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_an_image_without_objects_passes(change: Callable[..., Sample]) -> None:
    assert len(change(nothing(), np.random.default_rng(0)).boxes_xyxy) == 0


def test_a_box_mostly_cut_off_is_dropped() -> None:
    assert len(augment.cut_out(one_block(), 0, 0, 35, 80).class_ids) == 0
    kept = augment.cut_out(one_block(), 0, 0, 60, 80)
    np.testing.assert_array_equal(kept.boxes_xyxy, [[30, 20, 60, 50]])


def test_no_strength_leaves_colours_almost_alone() -> None:
    sample = one_block()
    sample.image_rgb[:] = np.random.default_rng(1).integers(0, 256, sample.image_rgb.shape)
    same = augment.jitter_colour(sample, 0.0, np.random.default_rng(0)).image_rgb
    assert np.abs(same.astype(int) - sample.image_rgb).max() <= 6  # hue has 180 steps
    assert (augment.jitter_colour(sample, 1.0, np.random.default_rng(0)).image_rgb != sample.image_rgb).any()


def test_mosaic_puts_four_boxes_on_their_blocks() -> None:
    for seed in range(10):
        joined = augment.mosaic([one_block()] * 4, 128, np.random.default_rng(seed))
        assert joined.image_rgb.shape == (128, 128, 3)
        for x1, y1, x2, y2 in joined.boxes_xyxy.round().astype(int):
            inside = joined.image_rgb[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1]
            assert (inside > 200).mean() > 0.9


def test_mixup_weighs_objects_by_their_image() -> None:
    blend = augment.mixup(one_block(), one_block(120, 90), np.random.default_rng(0))
    assert blend.image_rgb.shape == (120, 100, 3)
    assert blend.weights.sum() == pytest.approx(1.0)
    assert blend.image_rgb[30, 40, 0] == 255  # both are white there
