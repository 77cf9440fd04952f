"""`ppsplit make-shapes`: a small data set of coloured shapes."""

from __future__ import annotations

from pathlib import Path

from ppsplit.data.shapes import ShapesPlan
from ppsplit.data.shapes import make_shapes as make


def make_shapes(
    output: Path = Path("dataset/shapes"),
    train: int = 600,
    val: int = 150,
    side: int = 192,
    objects: int = 5,
    seed: int = 0,
) -> None:
    """Draw coloured shapes as a data set in COCO's format, with a held-out split, for tests and first steps.

    Args:
        output: Folder to write train/ and val/ into.
        train: Images to train on.
        val: Images held out.
        side: Height and width of every image.
        objects: The most shapes in one image.
        seed: The same seed draws the same images.
    """
    images, boxes = make(output, ShapesPlan(train, val, side, objects, seed))
    print(f"{output}: {images} images with {boxes} shapes; train on them with `ppsplit train --root {output}`")
