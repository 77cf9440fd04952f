"""One training sample: pixels and the boxes on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppsplit.data.problems import Problems
from ppsplit.data.training_set import TRUNCATED_IMAGE, UNREADABLE_IMAGE, LabelledImage, TrainingSet
from ppsplit.errors import DataError, ImageError
from ppsplit.image import decode_image

MIN_SIDE = 1.0  # pixels; a box thinner than this after cropping teaches nothing


@dataclass(frozen=True)
class Sample:
    """Pixels and boxes, in the pixels' own coordinates.

    Attributes:
        image_rgb: uint8 [H, W, 3].
        boxes_xyxy: float32 [N, 4].
        class_ids: int64 [N].
        weights: float32 [N], how much of each object is to be seen; below 1 in a blend of two images.
    """

    image_rgb: np.ndarray
    boxes_xyxy: np.ndarray
    class_ids: np.ndarray
    weights: np.ndarray

    def clipped(self) -> "Sample":
        """Boxes clipped to the image; those with nothing left are gone."""
        height, width = self.image_rgb.shape[:2]
        boxes = np.clip(self.boxes_xyxy, 0, np.array([width, height, width, height], np.float32)).astype(np.float32)
        return self.with_boxes(boxes).chosen((boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) >= MIN_SIDE)

    def with_boxes(self, boxes_xyxy: np.ndarray) -> "Sample":
        """The same objects with other boxes."""
        return Sample(self.image_rgb, boxes_xyxy, self.class_ids, self.weights)

    def chosen(self, which: np.ndarray) -> "Sample":
        """Only the objects that `which`, bool [N], says."""
        return Sample(self.image_rgb, self.boxes_xyxy[which], self.class_ids[which], self.weights[which])


def read_sample(data: TrainingSet, index: int) -> Sample:
    """Image `index`, or the next one that can be read; those that cannot are named in `data.problems`.

    The same index gives the same sample whenever it is asked for, so a bad file does not disturb a resumed run.

    Raises:
        DataError: no image of the set can be read.
    """
    count = len(data.images)
    for step in range(count):
        sample = read_or_skip(data.images[(index + step) % count], data.problems)
        if sample is not None:
            return sample
    raise DataError(f"none of the {count} images can be read: {'; '.join(data.problems.lines())}")


def read_or_skip(image: LabelledImage, problems: Problems) -> "Sample | None":
    """An image of a set; None where it cannot be read whole, and then it is named in `problems`."""
    try:
        data = Path(image.path).read_bytes()
        if looks_truncated(data):
            problems.add(TRUNCATED_IMAGE, image.path.name)
            return None
        pixels = decode_image(data, image.path.name)
    except (OSError, ImageError):
        problems.add(UNREADABLE_IMAGE, image.path.name)
        return None
    ones = np.ones(len(image.class_ids), np.float32)
    return Sample(pixels, image.boxes_xyxy, image.class_ids, ones).clipped()


def looks_truncated(data: bytes) -> bool:
    """Whether `data` is a JPEG without its end. OpenCV decodes such a file and fills the rest with grey.

    Within the compressed data a byte 0xFF is always stuffed, so the last start-of-scan marker is a real one, and a
    whole file has an end-of-image marker behind it.
    """
    if not data.startswith(b"\xff\xd8"):
        return False
    scan = data.rfind(b"\xff\xda")
    return scan < 0 or data.find(b"\xff\xd9", scan) < 0
