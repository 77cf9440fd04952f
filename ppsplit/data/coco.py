"""A set of images with annotations in COCO's format."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Tuple

from ppsplit.errors import DataError


@dataclass(frozen=True)
class CocoImage:
    """One image of a set: COCO's id and the file."""

    image_id: int
    path: Path


@dataclass(frozen=True)
class CocoSet:
    """Images and annotations. Open it with `CocoSet.open`.

    Attributes:
        annotations: the JSON file.
        images: by ascending id.
        category_ids: COCO's ids in ascending order; a detector's class i is `category_ids[i]`.
        category_names: in the same order.
    """

    annotations: Path
    images: Tuple[CocoImage, ...]
    category_ids: Tuple[int, ...]
    category_names: Tuple[str, ...]

    @classmethod
    def open(cls, annotations: Path, images_dir: Path) -> "CocoSet":
        """Read the JSON and find every image.

        Raises:
            DataError: the JSON is missing or not COCO's, or an image is missing.
        """
        values = read_coco_json(Path(annotations))
        images = sorted(
            (CocoImage(int(image["id"]), Path(images_dir) / image["file_name"]) for image in values["images"]),
            key=lambda image: image.image_id,
        )
        missing = [image.path.name for image in images if not image.path.is_file()]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(images)} images of {annotations} are not in {images_dir}, "
                f"{missing[0]} for one; give the folder that holds them with --images"
            )
        categories = sorted(values["categories"], key=lambda category: category["id"])
        return cls(
            Path(annotations),
            tuple(images),
            tuple(int(category["id"]) for category in categories),
            tuple(str(category["name"]) for category in categories),
        )

    def first(self, count: int) -> "CocoSet":
        """The same set with only its first `count` images. Raises DataError for none."""
        if count < 1:
            raise DataError(f"a limit of {count} images leaves nothing to look at; give 1 or more")
        return CocoSet(self.annotations, self.images[:count], self.category_ids, self.category_names)


def read_coco_json(annotations: Path) -> Dict[str, List[Dict[str, Any]]]:
    """The JSON object in `annotations`: has "images", "annotations" and "categories". Raises DataError."""
    try:
        values = json.loads(annotations.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read annotations {annotations}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{annotations} is not JSON: {error}") from error
    lacking = [
        key for key in ("images", "annotations", "categories") if not isinstance(values, dict) or key not in values
    ]
    if lacking:
        raise DataError(f"{annotations} is not in COCO's format: it lacks {', '.join(lacking)}")
    return values
