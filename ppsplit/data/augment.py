"""Changes to a sample that a detector must not mind. Every function draws from the generator it is given, only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence, Tuple

import cv2
import numpy as np

from ppsplit.data.sample import Sample
from ppsplit.detections import box_area
from ppsplit.errors import ConfigError

PAD_PIXEL = 128
LEAST_VISIBLE = 0.3  # a box of which a crop leaves less than this is dropped


@dataclass(frozen=True)
class Augmentation:
    """How much of each change.

    Attributes:
        flip: chance of a mirror image.
        colour: strength 0..1 of the jitter of hue, saturation and brightness.
        expand: chance of a larger canvas around the image.
        crop: chance of a random crop.
        mosaic: chance of four images in one.
        mixup: chance of two images blended.
    """

    flip: float = 0.5
    colour: float = 0.5
    expand: float = 0.5
    crop: float = 0.5
    mosaic: float = 0.0
    mixup: float = 0.0

    def __post_init__(self) -> None:
        wrong = {name: value for name, value in vars(self).items() if not 0 <= value <= 1}
        if wrong:
            raise ConfigError(f"augmentations are numbers in 0..1, not {wrong}")

    def without_mixing(self) -> "Augmentation":
        """The same without mosaic and mixup, for the last epochs."""
        return Augmentation(self.flip, self.colour, self.expand, self.crop)


def flip(sample: Sample) -> Sample:
    """The mirror image, left for right."""
    width = sample.image_rgb.shape[1]
    boxes = sample.boxes_xyxy.copy()
    boxes[:, [0, 2]] = width - sample.boxes_xyxy[:, [2, 0]]
    return Sample(np.ascontiguousarray(sample.image_rgb[:, ::-1]), boxes, sample.class_ids, sample.weights)


def jitter_colour(sample: Sample, strength: float, rng: np.random.Generator) -> Sample:
    """Hue shifted by up to 18 degrees, saturation and value scaled by up to 1.5, each times `strength`."""
    shift = rng.uniform(-18, 18) * strength
    gains = np.exp(rng.uniform(-np.log(1.5), np.log(1.5), 2) * strength)
    hue, saturation, value = cv2.split(cv2.cvtColor(sample.image_rgb, cv2.COLOR_RGB2HSV))
    levels = np.arange(256, dtype=np.float32)
    hue = cv2.LUT(hue, ((levels + shift / 2) % 180).astype(np.uint8))  # OpenCV counts hue in steps of 2 degrees
    saturation = cv2.LUT(saturation, np.clip(levels * gains[0], 0, 255).astype(np.uint8))
    value = cv2.LUT(value, np.clip(levels * gains[1], 0, 255).astype(np.uint8))
    pixels = cv2.cvtColor(cv2.merge([hue, saturation, value]), cv2.COLOR_HSV2RGB)
    return Sample(pixels, sample.boxes_xyxy, sample.class_ids, sample.weights)


def expand(sample: Sample, rng: np.random.Generator, largest: float = 2.0) -> Sample:
    """The image somewhere on a grey canvas of up to `largest` times its sides: objects get smaller."""
    height, width = sample.image_rgb.shape[:2]
    ratio = rng.uniform(1.0, largest)
    canvas_h, canvas_w = int(height * ratio), int(width * ratio)
    top, left = int(rng.integers(0, canvas_h - height + 1)), int(rng.integers(0, canvas_w - width + 1))
    canvas = np.full((canvas_h, canvas_w, 3), PAD_PIXEL, np.uint8)
    canvas[top : top + height, left : left + width] = sample.image_rgb
    moved = sample.boxes_xyxy + np.array([left, top, left, top], np.float32)
    return Sample(canvas, moved, sample.class_ids, sample.weights)


def crop(sample: Sample, rng: np.random.Generator, smallest: float = 0.4, tries: int = 10) -> Sample:
    """A random part of at least `smallest` of each side that keeps an object, as it is after `tries` failures."""
    height, width = sample.image_rgb.shape[:2]
    for _ in range(tries):
        part_h, part_w = (max(1, int(side * rng.uniform(smallest, 1.0))) for side in (height, width))
        if not 0.5 <= (part_h / part_w) / (height / width) <= 2.0:
            continue
        top, left = int(rng.integers(0, height - part_h + 1)), int(rng.integers(0, width - part_w + 1))
        part = cut_out(sample, left, top, left + part_w, top + part_h)
        if len(part.class_ids) or not len(sample.class_ids):
            return part
    return sample


def cut_out(sample: Sample, x1: int, y1: int, x2: int, y2: int) -> Sample:
    """The window x1..x2, y1..y2 of the image; boxes of which less than `LEAST_VISIBLE` remains are dropped."""
    part = Sample(
        np.ascontiguousarray(sample.image_rgb[y1:y2, x1:x2]),
        sample.boxes_xyxy - np.array([x1, y1, x1, y1], np.float32),
        sample.class_ids,
        sample.weights,
    )
    limits = np.array([x2 - x1, y2 - y1] * 2, np.float32)
    left_over = box_area(np.clip(part.boxes_xyxy, 0, limits))
    return part.chosen(left_over >= LEAST_VISIBLE * box_area(part.boxes_xyxy)).clipped()


def mosaic(samples: Sequence[Sample], side: int, rng: np.random.Generator) -> Sample:
    """Four samples around a random centre of a square canvas.

    Args:
        samples: top left, top right, bottom left, bottom right.
        side: of the canvas, pixels.
    """
    centre_x, centre_y = (int(v) for v in rng.uniform(0.3, 0.7, 2) * side)
    quadrants = (
        *((0, 0, centre_x, centre_y), (centre_x, 0, side, centre_y)),
        *((0, centre_y, centre_x, side), (centre_x, centre_y, side, side)),
    )
    canvas = np.full((side, side, 3), PAD_PIXEL, np.uint8)
    parts = []
    for sample, (x1, y1, x2, y2) in zip(samples, quadrants):
        part = _filling(sample, (y2 - y1, x2 - x1), rng)
        canvas[y1:y2, x1:x2] = part.image_rgb
        parts.append(part.with_boxes(part.boxes_xyxy + np.array([x1, y1, x1, y1], np.float32)))
    return _joined(canvas, parts)


def _filling(sample: Sample, hw: Tuple[int, int], rng: np.random.Generator) -> Sample:
    """A random window of the sample, resized so that it fills `hw`."""
    height, width = sample.image_rgb.shape[:2]
    scale = max(hw[0] / height, hw[1] / width) * rng.uniform(1.0, 1.5)
    size = (max(hw[1], round(width * scale)), max(hw[0], round(height * scale)))
    pixels = cv2.resize(sample.image_rgb, size, interpolation=cv2.INTER_LINEAR)
    boxes = sample.boxes_xyxy * np.array([size[0] / width, size[1] / height] * 2, np.float32)
    left, top = int(rng.integers(0, size[0] - hw[1] + 1)), int(rng.integers(0, size[1] - hw[0] + 1))
    resized = Sample(pixels, boxes.astype(np.float32), sample.class_ids, sample.weights)
    return cut_out(resized, left, top, left + hw[1], top + hw[0])


def mixup(first: Sample, second: Sample, rng: np.random.Generator) -> Sample:
    """Both images blended by a share drawn from Beta(1.5, 1.5), which is also their objects' weight (Zhang, 2018)."""
    share = float(rng.beta(1.5, 1.5))
    height = max(first.image_rgb.shape[0], second.image_rgb.shape[0])
    width = max(first.image_rgb.shape[1], second.image_rgb.shape[1])
    blend = np.zeros((height, width, 3), np.float32)
    for sample, part in ((first, share), (second, 1.0 - share)):
        blend[: sample.image_rgb.shape[0], : sample.image_rgb.shape[1]] += part * sample.image_rgb
    weighted = [
        Sample(s.image_rgb, s.boxes_xyxy, s.class_ids, (s.weights * part).astype(np.float32))
        for s, part in ((first, share), (second, 1.0 - share))
    ]
    return _joined(np.clip(blend + 0.5, 0, 255).astype(np.uint8), weighted)


def _joined(image_rgb: np.ndarray, parts: Sequence[Sample]) -> Sample:
    return Sample(
        image_rgb,
        np.concatenate([part.boxes_xyxy for part in parts]).astype(np.float32),
        np.concatenate([part.class_ids for part in parts]),
        np.concatenate([part.weights for part in parts]),
    )
