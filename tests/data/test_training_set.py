"""Bad data is left out by name and counted, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict

import numpy as np
import pytest

from ppsplit.data import training_set as reasons
from ppsplit.data.layout import find_split
from ppsplit.data.sample import looks_truncated, read_sample
from ppsplit.data.training_set import TrainingSet
from ppsplit.errors import DataError
from ppsplit.image import encode_jpeg

Open = Callable[[Callable[[Dict[str, Any], Path], None]], TrainingSet]


def replace_box(position: int, box: Any) -> Callable[[Dict[str, Any], Path], None]:
    def spoil(values: Dict[str, Any], images: Path) -> None:
        values["annotations"][position]["bbox"] = box

    return spoil


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([5, 5, 0, 9], reasons.BAD_BOX),
        ([5, 5, 9, -1], reasons.BAD_BOX),
        ([5, 5, 9], reasons.BAD_BOX),
        (None, reasons.BAD_BOX),
        ([5, 5, float("nan"), 9], reasons.BAD_BOX),
        ([64, 5, 9, 9], reasons.OUTSIDE_BOX),
        ([-20, 5, 20, 9], reasons.OUTSIDE_BOX),
    ],
)
def test_a_box_that_is_none_is_dropped(spoilt: Open, box: Any, reason: str) -> None:
    whole = sum(len(image.class_ids) for image in spoilt(lambda values, images: None).images)
    data = spoilt(replace_box(1, box))
    assert data.problems.names(reason) == ["annotation 2"]
    assert sum(len(image.class_ids) for image in data.images) == whole - 1


def test_a_box_that_hangs_over_is_clipped(spoilt: Open) -> None:
    data = spoilt(replace_box(0, [-10, 50, 30, 40]))
    assert data.problems.names(reasons.CLIPPED_BOX) == ["annotation 1"]
    boxes = np.concatenate([image.boxes_xyxy for image in data.images])
    assert (boxes == np.array([0, 50, 20, 64])).all(axis=1).any()


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("category_id", 99, reasons.UNKNOWN_CATEGORY),
        ("image_id", 999, reasons.UNKNOWN_IMAGE),
    ],
)
def test_annotations_that_teach_nothing_are_counted(spoilt: Open, key: str, value: int, reason: str) -> None:
    data = spoilt(lambda values, images: values["annotations"][2].update({key: value}))
    assert data.problems.names(reason) == ["annotation 3"]


def test_a_crowd_is_counted_and_keeps_its_place(spoilt: Open) -> None:
    data = spoilt(lambda values, images: values["annotations"][2].update(iscrowd=1))
    assert data.problems.names(reasons.CROWD) == ["annotation 3"]
    assert sum((image.class_ids == reasons.CROWD_CLASS).sum() for image in data.images) == 1


def test_a_missing_image_is_named(spoilt: Open) -> None:
    data = spoilt(lambda values, images: (images / "000003.jpg").unlink())
    assert data.problems.names(reasons.MISSING_IMAGE) == ["000003.jpg"]
    assert 3 not in [image.image_id for image in data.images]


def test_an_image_without_objects_is_background(spoilt: Open) -> None:
    def spoil(values: Dict[str, Any], images: Path) -> None:
        values["annotations"] = [a for a in values["annotations"] if a["image_id"] != 4]

    data = spoilt(spoil)
    assert "000004.jpg" in data.problems.names(reasons.EMPTY_IMAGE)
    sample = read_sample(data, 4)
    assert sample.boxes_xyxy.shape == (0, 4) and sample.image_rgb.shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("spoil_bytes", "reason"),
    [(lambda data: data[: len(data) // 2], reasons.TRUNCATED_IMAGE), (lambda data: b"", reasons.UNREADABLE_IMAGE)],
)
def test_a_bad_file_gives_way_to_the_next(spoilt: Open, spoil_bytes: Callable[[bytes], bytes], reason: str) -> None:
    data = spoilt(lambda values, images: None)
    path = data.images[5].path
    path.write_bytes(spoil_bytes(path.read_bytes()))
    for _ in range(2):
        np.testing.assert_array_equal(read_sample(data, 5).image_rgb, read_sample(data, 6).image_rgb)
    assert data.problems.names(reason) == [path.name]
    assert f"1 {reason}: {path.name}" in data.problems.lines()


def test_truncation_is_told_at_every_length() -> None:
    whole = encode_jpeg(np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8), 90)
    assert not looks_truncated(whole) and not looks_truncated(whole + b"trailing")
    assert all(looks_truncated(whole[:length]) for length in range(2, len(whole)))
    assert not looks_truncated(b"\x89PNG")


def test_nothing_to_learn_from_is_refused(spoilt: Open) -> None:
    with pytest.raises(DataError, match="nothing in .* can be trained on"):
        spoilt(lambda values, images: values.update(annotations=[]))


def test_ids_that_come_twice_are_refused(spoilt: Open) -> None:
    with pytest.raises(DataError, match="same id twice"):
        spoilt(lambda values, images: values["images"].append(dict(values["images"][0])))


def test_a_set_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="make-shapes"):
        find_split(tmp_path, "train")


def test_cocos_own_layout_is_found(tmp_path: Path) -> None:
    (tmp_path / "train2017").mkdir()
    (tmp_path / "annotations").mkdir()
    file = tmp_path / "annotations" / "instances_train2017.json"
    file.write_text(json.dumps({}))
    assert find_split(tmp_path, "train2017") == (file, tmp_path / "train2017")
