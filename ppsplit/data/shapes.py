"""A generated set in COCO's format: coloured shapes on noisy ground, for tests and first steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Tuple

import cv2
import numpy as np

from ppsplit.data.batches import generator
from ppsplit.detections import pairwise_iou
from ppsplit.errors import ConfigError
from ppsplit.files import write_bytes_atomically, write_json_atomically
from ppsplit.image import encode_jpeg

SHAPES = ("circle", "square", "triangle", "star")
SPLITS = ("train", "val")  # a split's position is part of its seed, so none shares an image with another
MOST_OVERLAP = 0.05  # IoU of two shapes' boxes
JPEG_QUALITY = 92


@dataclass(frozen=True)
class ShapesPlan:
    """What to draw.

    Attributes:
        train, val: images of each split.
        side: of every image, pixels.
        objects: the most shapes in one image; the least is none, one image in 20.
        seed: the same seed draws the same pixels.
    """

    train: int = 600
    val: int = 150
    side: int = 192
    objects: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.train, self.val, self.objects) < 1 or self.side < 64:
            raise ConfigError("make-shapes needs 1 or more images and objects and a side of 64 or more")


def make_shapes(root: Path, plan: ShapesPlan = ShapesPlan()) -> Tuple[int, int]:
    """Write `root/train` and `root/val`, each with `instances.json` and `images/`.

    Returns:
        images and boxes written.
    """
    images = boxes = 0
    for number, (split, count) in enumerate(zip(SPLITS, (plan.train, plan.val))):
        values = _empty_set()
        for index in range(count):
            pixels, objects = draw(plan, number, index)
            name = f"{index:06d}.jpg"
            write_bytes_atomically(Path(root) / split / "images" / name, encode_jpeg(pixels, JPEG_QUALITY))
            values["images"].append({"id": index, "file_name": name, "width": plan.side, "height": plan.side})
            for class_id, box, area in objects:
                values["annotations"].append(_annotation(len(values["annotations"]) + 1, index, class_id, box, area))
        write_json_atomically(Path(root) / split / "instances.json", values)
        images, boxes = images + count, boxes + len(values["annotations"])
    return images, boxes


def draw(plan: ShapesPlan, split: int, index: int) -> Tuple[np.ndarray, List[Tuple[int, np.ndarray, int]]]:
    """Image `index` of a split.

    Returns:
        uint8 [side, side, 3] RGB; for each shape its class, its box float64 [4] (x1, y1, x2, y2) and its pixels.
    """
    rng = generator(plan.seed, split, index)
    canvas = _ground(plan.side, rng)
    wanted = 0 if rng.random() < 0.05 else int(rng.integers(1, plan.objects + 1))
    objects: List[Tuple[int, np.ndarray, int]] = []
    for _ in range(wanted * 4):  # some fall on others and are not drawn
        if len(objects) == wanted:
            break
        class_id = int(rng.integers(len(SHAPES)))
        mask = _mask(class_id, plan.side, rng)
        box = _box_of(mask)
        if objects and pairwise_iou(box[None], np.stack([other for _, other, _ in objects])).max() > MOST_OVERLAP:
            continue
        colour = rng.integers(0, 256, 3)
        opacity = mask[..., None] / 255.0
        canvas = (canvas * (1 - opacity) + colour * opacity).astype(np.uint8)
        objects.append((class_id, box, int((mask > 127).sum())))
    return canvas, objects


def _ground(side: int, rng: np.random.Generator) -> np.ndarray:
    """A coarse random gradient with noise."""
    coarse = rng.integers(40, 216, (3, 3, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.float64)
    return np.clip(smooth + rng.normal(0, 8, (side, side, 1)), 0, 255).astype(np.uint8)


def _mask(class_id: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """uint8 [side, side], 255 within one shape of random size and place; turned a little, except the circle."""
    radius = rng.uniform(0.07, 0.24) * side
    centre = rng.uniform(radius, side - radius, 2)
    turn = rng.uniform(-0.35, 0.35)
    mask = np.zeros((side, side), np.uint8)
    if SHAPES[class_id] == "circle":
        cv2.circle(mask, (int(centre[0]), int(centre[1])), int(radius), 255, -1, cv2.LINE_AA)
        return mask
    corners, radii = {"square": (4, (1.0,)), "triangle": (3, (1.0,)), "star": (10, (1.0, 0.42))}[SHAPES[class_id]]
    start = np.pi / 4 if corners == 4 else -np.pi / 2
    angles = start + turn + 2 * np.pi * np.arange(corners) / corners
    lengths = radius * np.resize(np.array(radii), corners)
    points = centre + lengths[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 255, cv2.LINE_AA)
    return mask


def _box_of(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(mask > 127)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float64)


def _empty_set() -> Dict[str, List[Dict[str, Any]]]:
    categories = [{"id": number, "name": name} for number, name in enumerate(SHAPES, 1)]
    return {"images": [], "annotations": [], "categories": categories}


def _annotation(number: int, image_id: int, class_id: int, box: np.ndarray, area: int) -> Dict[str, Any]:
    x1, y1, x2, y2 = (float(value) for value in box)
    return {
        "id": number,
        "image_id": image_id,
        "category_id": class_id + 1,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": area,
        "iscrowd": 0,
    }
