"""A folder of photos without labels, where a training set is wanted: for distillation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ppsplit.data.problems import Problems
from ppsplit.data.training_set import LabelledImage, TrainingSet
from ppsplit.image import list_images


def unlabelled_set(folder: Path) -> TrainingSet:
    """All images right inside `folder`, by name, with no object in them and no categories.

    Raises:
        DataError: nothing there, or no image in it.
    """
    nothing, nobody = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    images = (LabelledImage(number, path, nothing, nobody) for number, path in enumerate(list_images(folder)))
    return TrainingSet(tuple(images), (), (), Problems())
