"""Where pictures come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, List, Sequence

import numpy as np

from ppsplit.errors import DataError, ImageError
from ppsplit.image import list_images, read_image


@dataclass(frozen=True)
class Photo:
    """One picture.

    Attributes:
        path: where it was read.
        image_rgb: uint8 [H, W, 3].
    """

    path: Path
    image_rgb: np.ndarray


def find_images(source: Path) -> List[Path]:
    """`source` itself if it is a file, else the images in that folder. Raises DataError when there are none."""
    return list_images(source)


def read_photos(paths: Sequence[Path], on_skip: Callable[[ImageError], None]) -> Iterator[Photo]:
    """The pictures that can be read, one at a time.

    One bad file among many is skipped and told to `on_skip`; when nothing at all can be read, that is an error.

    Raises:
        DataError: no picture could be read; an only picture's own ImageError is raised as it is.
    """
    count = 0
    for path in paths:
        try:
            photo = Photo(path, read_image(path))
        except ImageError as error:
            if len(paths) == 1:
                raise
            on_skip(error)
            continue
        count += 1
        yield photo
    if paths and not count:
        raise DataError(f"none of the {len(paths)} images in {paths[0].parent} could be read; see the warnings above")


def in_batches(photos: Iterator[Photo], size: int) -> Iterator[List[Photo]]:
    """Lists of `size` photos; the last one may be shorter."""
    batch: List[Photo] = []
    for photo in photos:
        batch.append(photo)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
