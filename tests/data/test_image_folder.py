"""A folder of photos as a training set without labels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ppsplit.data.augment import Augmentation
from ppsplit.data.batches import BatchPlan, BatchSource
from ppsplit.data.image_folder import unlabelled_set
from ppsplit.errors import DataError
from ppsplit.image import Preprocess


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("b.jpg", "a.png", "c.JPEG")):
        cv2.imwrite(str(tmp_path / name), np.full((20 + number, 30, 3), 50 * number, np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "more").mkdir()
    cv2.imwrite(str(tmp_path / "more" / "d.jpg"), np.zeros((20, 30, 3), np.uint8))
    return tmp_path


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image in"):
        unlabelled_set(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        unlabelled_set(tmp_path / "gone")


def test_images_by_name_without_objects(folder: Path) -> None:
    found = unlabelled_set(folder)
    assert [image.path.name for image in found.images] == ["a.png", "b.jpg", "c.JPEG"]
    assert found.category_names == ()
    for image in found.images:
        assert (image.boxes_xyxy.shape, image.class_ids.shape) == ((0, 4), (0,))


def test_batches_of_it(folder: Path) -> None:
    plan = BatchPlan(3, 2, 0, (64,))
    everything = Augmentation(0.5, 0.3, 0.5, 0.5)
    batches = list(BatchSource(unlabelled_set(folder), plan, Preprocess((64, 64)), everything, 0).epoch(0))
    assert [batch.images.shape for batch in batches] == [(2, 3, 64, 64)]
    assert (batches[0].weights == 0).all()
