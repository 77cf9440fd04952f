"""Where the annotations and images of a split lie under a data set's root."""

from __future__ import annotations

from pathlib import Path
from typing import Tuple

from ppsplit.errors import DataError


def find_split(root: Path, split: str) -> Tuple[Path, Path]:
    """The annotations file and the image folder of one split.

    Args:
        root: the data set's folder.
        split: "train2017", "val", ...; "" where the root itself is the only split.

    Returns:
        `root/SPLIT/instances.json` and `root/SPLIT/images`, or, as COCO's own archives unpack,
        `root/annotations/instances_SPLIT.json` and `root/SPLIT`.

    Raises:
        DataError: neither is there.
    """
    root = Path(root)
    layouts = [(root / split / "instances.json", root / split / "images")]
    if split:
        layouts.append((root / "annotations" / f"instances_{split}.json", root / split))
    for file, images in layouts:
        if file.is_file() and images.is_dir():
            return file, images
    wanted = " nor ".join(f"{file} with {images}/" for file, images in layouts)
    raise DataError(
        f"no data: neither {wanted}; `ppsplit make-shapes` makes a small set in dataset/shapes, "
        "`ppsplit download-coco` fetches COCO, --root takes any set in COCO's format"
        if split
        else f"no data: no {wanted}; give the folder of a set in COCO's format with --root"
    )
