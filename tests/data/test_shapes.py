"""The generated set is COCO's format, repeatable, and its splits share nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppsplit.data.coco import CocoSet
from ppsplit.data.layout import find_split
from ppsplit.data.shapes import SHAPES, ShapesPlan, draw, make_shapes
from ppsplit.detections import Detections
from ppsplit.errors import ConfigError
from ppsplit.metrics.coco_ap import coco_box_ap

PLAN = ShapesPlan(train=12, val=4, side=64, objects=3)


def test_the_truth_scores_one(shapes: Path) -> None:
    coco_set = CocoSet.open(*find_split(shapes, "val"))
    found = {}
    for index, image in enumerate(coco_set.images):
        _, objects = draw(PLAN, 1, index)
        boxes = np.array([box for _, box, _ in objects], np.float32).reshape(-1, 4)
        found[image.image_id] = Detections(
            boxes, np.ones(len(boxes), np.float32), np.array([c for c, _, _ in objects], np.int64)
        )
    assert coco_box_ap(coco_set, found)["ap"] == pytest.approx(1.0)
    assert coco_set.category_names == SHAPES


def test_the_same_seed_draws_the_same_files(shapes: Path, tmp_path: Path) -> None:
    make_shapes(tmp_path / "again", PLAN)
    for path in sorted(p for p in shapes.rglob("*") if p.is_file()):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(shapes)).read_bytes()


def test_splits_and_seeds_differ() -> None:
    first = draw(PLAN, 0, 0)[0]
    assert (first != draw(PLAN, 1, 0)[0]).any()
    assert (first != draw(ShapesPlan(side=64, objects=3, seed=1), 0, 0)[0]).any()


def test_a_plan_that_draws_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="1 or more"):
        ShapesPlan(train=0)
