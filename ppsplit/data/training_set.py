"""A set in COCO's format as training wants it: boxes checked, bad data left out by name and counted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from ppsplit.data.coco import read_coco_json
from ppsplit.data.problems import Problems
from ppsplit.errors import DataError

MISSING_IMAGE = "images are missing"
UNREADABLE_IMAGE = "images cannot be read"
TRUNCATED_IMAGE = "images are truncated"
EMPTY_IMAGE = "images have no object and are kept as background"
CROWD = "boxes are crowds: nothing is taught there"
UNKNOWN_CATEGORY = "annotations have an unknown category"
UNKNOWN_IMAGE = "annotations belong to no image"
BAD_BOX = "boxes are no boxes"
OUTSIDE_BOX = "boxes lie outside their image"
CLIPPED_BOX = "boxes were clipped to their image"
CROWD_CLASS = -2  # stands where a class id does
CLIP_TOLERANCE = 1.0  # pixels; COCO's own boxes hang over by rounding


@dataclass(frozen=True)
class LabelledImage:
    """One image and what is in it.

    Attributes:
        image_id: COCO's.
        path: the file.
        boxes_xyxy: float32 [N, 4] in pixels, inside the image, area above zero.
        class_ids: int64 [N]; `CROWD_CLASS` for a region with more objects than anyone marked.
    """

    image_id: int
    path: Path
    boxes_xyxy: np.ndarray
    class_ids: np.ndarray


@dataclass(frozen=True)
class TrainingSet:
    """Images with their boxes. Open it with `TrainingSet.open`.

    Attributes:
        images: by ascending id; those without objects are background.
        category_ids, category_names: class i is `category_ids[i]`, as in `CocoSet`.
        problems: what was left out or mended; reading images adds to it.
    """

    images: Tuple[LabelledImage, ...]
    category_ids: Tuple[int, ...]
    category_names: Tuple[str, ...]
    problems: Problems

    @classmethod
    def open(cls, annotations: Path, images_dir: Path) -> "TrainingSet":
        """Read the JSON and check every annotation; images are only looked for, not read.

        Raises:
            DataError: the JSON is missing or not COCO's, ids come twice, or nothing can be used.
        """
        values = read_coco_json(Path(annotations))
        problems = Problems()
        try:
            categories = sorted((int(c["id"]), str(c["name"])) for c in values["categories"])
            entries = {int(entry["id"]): entry for entry in values["images"]}
            files = {image_id: Path(images_dir) / entry["file_name"] for image_id, entry in entries.items()}
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{annotations} is not in COCO's format: an image or category lacks {error}") from error
        if len(entries) != len(values["images"]) or len({c[0] for c in categories}) != len(categories):
            raise DataError(f"{annotations} has the same id twice among its images or categories; make ids unique")
        class_of = {category_id: index for index, (category_id, _) in enumerate(categories)}
        objects = _objects(values["annotations"], entries, class_of, problems)
        images = [_labelled(i, files[i], objects.get(i, []), problems) for i in sorted(entries)]
        usable = tuple(image for image in images if image is not None)
        if not any((image.class_ids != CROWD_CLASS).any() for image in usable):
            raise DataError(
                f"nothing in {annotations} can be trained on: {'; '.join(problems.lines()) or 'it is empty'}. "
                f"Images are looked for in {images_dir}"
            )
        return cls(usable, tuple(c[0] for c in categories), tuple(c[1] for c in categories), problems)


Object = Tuple[Tuple[float, float, float, float], int]


def _objects(
    annotations: List[Dict[str, Any]], entries: Dict[int, Any], class_of: Dict[int, int], problems: Problems
) -> Dict[int, List[Object]]:
    """Image id to its (box, class) pairs, in the order of the file."""
    objects: Dict[int, List[Object]] = {}
    for position, annotation in enumerate(annotations):
        name = f"annotation {annotation.get('id', f'number {position}')}"
        image_id = annotation.get("image_id")
        if image_id not in entries:
            problems.add(UNKNOWN_IMAGE, name)
        elif annotation.get("category_id") not in class_of:
            problems.add(UNKNOWN_CATEGORY, name)
        else:
            box = _checked_box(annotation.get("bbox"), entries[image_id], name, problems)
            class_id = class_of[annotation["category_id"]]
            if annotation.get("iscrowd"):
                problems.add(CROWD, name)
                class_id = CROWD_CLASS
            if box is not None:
                objects.setdefault(image_id, []).append((box, class_id))
    return objects


def _checked_box(
    bbox: Any, entry: Dict[str, Any], name: str, problems: Problems
) -> Optional[Tuple[float, float, float, float]]:
    """COCO's x, y, width, height as x1, y1, x2, y2 inside the image; None where nothing is left."""
    try:
        x, y, width, height = (float(value) for value in bbox)
    except (TypeError, ValueError):
        problems.add(BAD_BOX, name)
        return None
    if not all(map(math.isfinite, (x, y, width, height))) or width <= 0 or height <= 0:
        problems.add(BAD_BOX, name)
        return None
    limit_x, limit_y = float(entry.get("width") or math.inf), float(entry.get("height") or math.inf)
    x1, y1, x2, y2 = max(x, 0.0), max(y, 0.0), min(x + width, limit_x), min(y + height, limit_y)
    if x2 <= x1 or y2 <= y1:
        problems.add(OUTSIDE_BOX, name)
        return None
    if max(x1 - x, y1 - y, x + width - x2, y + height - y2) > CLIP_TOLERANCE:
        problems.add(CLIPPED_BOX, name)
    return x1, y1, x2, y2


def _labelled(image_id: int, path: Path, objects: List[Object], problems: Problems) -> Optional[LabelledImage]:
    if not path.is_file():
        problems.add(MISSING_IMAGE, path.name)
        return None
    if not objects:
        problems.add(EMPTY_IMAGE, path.name)
    boxes = np.array([box for box, _ in objects], np.float32).reshape(-1, 4)
    return LabelledImage(image_id, path, boxes, np.array([c for _, c in objects], np.int64))
