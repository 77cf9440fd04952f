"""AP of resampled images is pycocotools' own, and the interval around a difference is what it should be."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import pytest

from ppsplit.data.coco import CocoSet
from ppsplit.detections import Detections
from ppsplit.errors import DataError
from ppsplit.metrics.bootstrap import UNDEFINED, ResampledAp, ap_difference
from ppsplit.metrics.coco_ap import coco_box_ap

CATEGORIES = [7, 3, 11, 20]  # the last has no object
Found = Dict[int, Detections]
Made = Tuple[CocoSet, List[Dict[str, Any]], Found, Found]


def write(folder: Path, images: List[int], annotations: List[Dict[str, Any]], categories: List[int]) -> CocoSet:
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in images],
        "categories": [{"id": i, "name": f"class {i}"} for i in categories],
        "annotations": [{**annotation, "id": number} for number, annotation in enumerate(annotations, 1)],
    }
    for image in images:
        (folder / f"{image}.jpg").touch()
    (folder / "instances.json").write_text(json.dumps(values))
    return CocoSet.open(folder / "instances.json", folder)


def labels(generator: np.random.Generator, images: int, categories: List[int], most: int) -> List[Dict[str, Any]]:
    """Up to `most` boxes an image, one in ten a crowd; every fifth image is empty."""
    found = []
    for image in range(1, images + 1):
        for _ in range(0 if image % 5 == 0 else int(generator.integers(1, most + 1))):
            x, y, width, height = (float(v) for v in generator.uniform(5, 120, 4))
            category = int(generator.choice(categories))
            crowd = int(generator.random() < 0.1)
            box = [x, y, width, height]
            found.append(
                {"image_id": image, "category_id": category, "bbox": box, "area": width * height, "iscrowd": crowd}
            )
    return found


def guesses(
    generator: np.random.Generator, annotations: List[Dict[str, Any]], coco_set: CocoSet, off: float, extra: int = 2
) -> Found:
    """The labelled boxes moved by `off` pixels or so and some of other classes, and boxes out of the blue."""
    found = {}
    classes = len(coco_set.category_ids)
    for image in coco_set.images:
        here = [a for a in annotations if a["image_id"] == image.image_id]
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in here)]
        ids = [coco_set.category_ids.index(a["category_id"]) for a in here]
        moved = np.reshape(boxes, (-1, 4)) + generator.normal(0, off, (len(boxes), 4))
        corner = generator.uniform(0, 100, (extra, 2))
        blue = np.hstack([corner, corner + generator.uniform(5, 100, (extra, 2))])
        class_ids = np.array([*ids, *generator.integers(0, classes, extra)], np.int64)
        swapped = generator.random(len(class_ids)) < 0.2
        class_ids[swapped] = generator.integers(0, classes, int(swapped.sum()))
        scores = generator.random(len(class_ids)).astype(np.float32)
        found[image.image_id] = Detections(np.vstack([moved, blue]).astype(np.float32), scores, class_ids)
    return found


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """20 images, and two sets of detections, the second better."""
    generator = np.random.default_rng(3)
    annotations = labels(generator, 20, CATEGORIES[:3], 4)
    coco_set = write(tmp_path / "set", list(range(1, 21)), annotations, CATEGORIES)
    worse, better = (guesses(generator, annotations, coco_set, off) for off in (4, 2))
    return coco_set, annotations, worse, better


def test_of_nothing_there_is_no_difference(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image of .* has an object"):
        ap_difference(write(tmp_path / "none", [], [], CATEGORIES), {}, {})
    assert ResampledAp(write(tmp_path / "none", [], [], CATEGORIES), {}).ap(np.ones(0, np.int64)) == UNDEFINED
    empty = write(tmp_path / "empty", [1, 2], [], CATEGORIES)
    assert ResampledAp(empty, {}).ap(np.ones(2, np.int64)) == UNDEFINED
    with pytest.raises(DataError, match="no image of .* has an object"):
        ap_difference(empty, {}, {})


def test_of_nothing_found_ap_is_zero(made: Made) -> None:
    assert ResampledAp(made[0], {}).ap(np.ones(20, np.int64)) == 0


def test_all_images_once_is_the_ap_of_pycocotools(made: Made) -> None:
    coco_set, _, worse, better = made
    for found in (worse, better):
        ap = ResampledAp(coco_set, found).ap(np.ones(20, np.int64))
        assert 0.1 < ap < 0.9
        assert ap == coco_box_ap(coco_set, found)["ap"]  # to the bit


def test_equal_scores_are_ordered_as_by_pycocotools(made: Made) -> None:
    coco_set, _, _, better = made
    found = {i: Detections(d.boxes_xyxy, np.round(d.scores * 4) / 4, d.class_ids) for i, d in better.items()}
    assert ResampledAp(coco_set, found).ap(np.ones(20, np.int64)) == coco_box_ap(coco_set, found)["ap"]


@pytest.mark.parametrize("seed", range(5))
def test_an_image_drawn_twice_is_an_image_that_is_there_twice(made: Made, tmp_path: Path, seed: int) -> None:
    coco_set, annotations, worse, _ = made
    drawn = sorted(int(i) for i in np.random.default_rng(seed).integers(1, 21, 20))
    copies = dict(enumerate(drawn, 1))
    copied = [
        {**annotation, "image_id": copy}
        for copy, image in copies.items()
        for annotation in annotations
        if annotation["image_id"] == image
    ]
    brute = coco_box_ap(
        write(tmp_path / "copied", list(copies), copied, CATEGORIES), {c: worse[i] for c, i in copies.items()}
    )
    counts = np.bincount(np.array(drawn) - 1, minlength=20)
    assert counts.max() > 1 and counts.min() == 0
    assert ResampledAp(coco_set, worse).ap(counts) == brute["ap"]


def test_same_detections_differ_by_nothing(made: Made) -> None:
    result = ap_difference(made[0], made[2], made[2], 50)
    assert (result.difference, result.low, result.high, result.resamples) == (0, 0, 0, 50)


def test_the_interval_holds_the_difference_and_the_seed_decides(made: Made) -> None:
    coco_set, _, worse, better = made
    result = ap_difference(coco_set, worse, better, 200)
    assert result.difference == coco_box_ap(coco_set, better)["ap"] - coco_box_ap(coco_set, worse)["ap"]
    assert 0 < result.low < result.difference < result.high
    assert ap_difference(coco_set, worse, better, 200) == result
    assert ap_difference(coco_set, worse, better, 200, generator=np.random.default_rng(0)) == result
    assert ap_difference(coco_set, worse, better, 200, generator=np.random.default_rng(1)).low != result.low
    turned = ap_difference(coco_set, better, worse, 200)
    assert (turned.low, turned.high) == pytest.approx((-result.high, -result.low))
    narrower = ap_difference(coco_set, worse, better, 200, level=0.5)
    assert result.low < narrower.low < narrower.high < result.high


def test_a_draw_without_objects_is_left_out(tmp_path: Path) -> None:
    annotation = {"image_id": 1, "category_id": 3, "bbox": [10, 10, 20, 20], "area": 400, "iscrowd": 0}
    coco_set = write(tmp_path, [1, 2], [annotation], [3])
    right = {1: Detections(np.float32([[10, 10, 30, 30]]), np.float32([0.5]), np.int64([0]))}
    result = ap_difference(coco_set, {}, right, 100)
    assert (result.low, result.high) == (pytest.approx(1), pytest.approx(1))
    assert 50 < result.resamples < 100  # a quarter of the draws is the second image twice


def test_draws_that_all_have_no_object_are_told(made: Made) -> None:
    coco_set, _, before, after = made
    with pytest.raises(DataError, match="none of 0 draws"):
        ap_difference(coco_set, before, after, resamples=0)


def test_a_draw_of_many_images_and_classes_is_fast(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    categories = list(range(1, 81))
    annotations = labels(generator, 158, categories, 15)
    coco_set = write(tmp_path, list(range(1, 159)), annotations, categories)
    resampled = ResampledAp(coco_set, guesses(generator, annotations, coco_set, 5, extra=80))
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        resampled.ap(np.bincount(generator.integers(0, 158, 158), minlength=158))
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.2
