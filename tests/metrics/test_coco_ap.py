"""COCO AP in cases whose value is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ppsplit.data.coco import CocoSet
from ppsplit.detections import Detections
from ppsplit.errors import DataError
from ppsplit.masks import RunLengths
from ppsplit.metrics.coco_ap import coco_ap, coco_box_ap


def write_set(folder: Path) -> Path:
    """Two images, category ids 7 and 3; one box in each image."""
    for name in ("b.jpg", "a.jpg"):
        (folder / name).touch()
    boxes = [(1, 3, [10, 10, 20, 20]), (2, 7, [0, 0, 40, 40])]
    values = {
        "images": [{"id": 2, "file_name": "b.jpg"}, {"id": 1, "file_name": "a.jpg"}],
        "categories": [{"id": 7, "name": "cup"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {"id": i, "image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for i, (image, category, box) in enumerate(boxes, 1)
        ],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(values))
    return path


def one(box: list, class_id: int) -> Detections:
    return Detections(np.float32([box]), np.float32([0.9]), np.int64([class_id]))


@pytest.fixture
def coco_set(tmp_path: Path) -> CocoSet:
    return CocoSet.open(write_set(tmp_path), tmp_path)


def test_images_and_categories_are_in_order_of_id(coco_set: CocoSet) -> None:
    assert [image.path.name for image in coco_set.images] == ["a.jpg", "b.jpg"]
    assert (coco_set.category_ids, coco_set.category_names) == ((3, 7), ("cat", "cup"))


def with_mask(found: Detections, rows: slice, columns: slice) -> Detections:
    mask = np.zeros((50, 50), bool)
    mask[rows, columns] = True
    return found.with_masks([RunLengths.of(mask)])


@pytest.mark.parametrize(("rows", "mask_ap50"), [(slice(10, 30), 1.0), (slice(10, 19), 0.0)])
def test_masks_are_measured_where_the_set_tells_them(tmp_path: Path, rows: slice, mask_ap50: float) -> None:
    path = write_set(tmp_path)
    found = {
        1: with_mask(one([10, 10, 30, 30], 0), rows, slice(10, 30)),
        2: with_mask(one([0, 0, 40, 40], 1), slice(0, 40), slice(0, 40)),
    }
    only_boxes = coco_ap(CocoSet.open(path, tmp_path), found)
    assert only_boxes["ap"] == pytest.approx(1.0) and "mask_ap" not in only_boxes
    values = json.loads(path.read_text())
    for image in values["images"]:
        image.update(height=50, width=50)
    for annotation in values["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    path.write_text(json.dumps(values))
    both = coco_ap(CocoSet.open(path, tmp_path), found)
    assert both["mask_ap50"] == pytest.approx((mask_ap50 + 1) / 2) and both["ap"] == pytest.approx(1.0)


def test_perfect_boxes_give_one(coco_set: CocoSet) -> None:
    found = {1: one([10, 10, 30, 30], 0), 2: one([0, 0, 40, 40], 1)}
    assert coco_box_ap(coco_set, found)["ap"] == pytest.approx(1.0)


def test_nothing_found_gives_zero(coco_set: CocoSet) -> None:
    assert coco_box_ap(coco_set, {})["ap"] == 0.0


def test_one_of_two_classes_gives_a_half_and_a_wrong_class_nothing(coco_set: CocoSet) -> None:
    assert coco_box_ap(coco_set, {1: one([10, 10, 30, 30], 0)})["ap50"] == pytest.approx(0.5)
    assert coco_box_ap(coco_set, {1: one([10, 10, 30, 30], 1)})["ap50"] == 0.0


def test_a_loose_box_counts_at_the_thresholds_it_meets(coco_set: CocoSet) -> None:
    found = {2: one([0, 0, 40, 31], 1)}  # IoU .775: six of the ten thresholds
    scores = coco_box_ap(coco_set, found)
    assert (scores["ap50"], scores["ap"]) == (pytest.approx(0.5), pytest.approx(0.5 * 6 / 10))


def test_only_the_images_of_the_set_count(coco_set: CocoSet) -> None:
    assert coco_box_ap(coco_set.first(1), {1: one([10, 10, 30, 30], 0)})["ap"] == pytest.approx(1.0)


def test_a_missing_image_and_other_json_are_named(tmp_path: Path) -> None:
    path = write_set(tmp_path)
    (tmp_path / "b.jpg").unlink()
    with pytest.raises(DataError, match="1 of 2 images.*b.jpg"):
        CocoSet.open(path, tmp_path)
    path.write_text("{}")
    with pytest.raises(DataError, match="lacks images"):
        CocoSet.open(path, tmp_path)
    path.write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        CocoSet.open(path, tmp_path)
    with pytest.raises(DataError, match="No such file"):
        CocoSet.open(tmp_path / "gone.json", tmp_path)
