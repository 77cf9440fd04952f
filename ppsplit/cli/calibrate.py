"""`ppsplit calibrate`: tables that let features travel in few bytes, learnt from photos without labels."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional, Tuple

from ppsplit.bundle import Bundle
from ppsplit.calibrate.curve import Judged
from ppsplit.calibrate.learn import LearningPlan, held_out, learn_codec
from ppsplit.cli.inspect import curve_rows
from ppsplit.cli.progress import row_progress
from ppsplit.cli.tables import print_table
from ppsplit.data.coco import CocoSet
from ppsplit.data.layout import find_split
from ppsplit.errors import CalibrationError, DataError
from ppsplit.export.calibration import inputs_of
from ppsplit.image import Preprocess, list_images, read_image, to_input


def calibrate(
    bundle: Path,
    /,
    images: Path,
    cut: Optional[str] = None,
    count: int = 256,
    target_kl: float = 0.35,
    root: Optional[Path] = None,
    val_split: str = "",
    limit: Optional[int] = None,
    json: Optional[Path] = None,
) -> None:
    """Teach a bundle the codec "feature", and measure its curve of bytes against divergence.

    Args:
        bundle: The bundle; it is changed, so give both halves the new one.
        images: Folder of photos like those to come, without labels; they are not judged on.
        cut: Which cut; by default the bundle's first.
        count: How many of the photos to learn from, 8 to 512.
        target_kl: Mean divergence of scores, in nats an image, that the bundle's own quality may cost. One hundredth of
            AP's relative loss is about 0.35 for YOLOv3-tiny and 4 for YOLO11n.
        root: Folder of a labelled set in COCO's format, other photos, for the curve and its AP; by default the curve
            is measured on photos of IMAGES that were not learnt from.
        val_split: Its split, "val2017" in COCO's own layout; by default the folder is the split.
        limit: Only so many of its images.
        json: Write the printed curve there too.
    """
    opened = Bundle.open(bundle)
    preprocess = opened.manifest.preprocess
    learnt_from, judged = _photos(images, count, preprocess, root, val_split, limit)
    plan = LearningPlan(inputs_of(learnt_from, preprocess), judged, target_kl)
    with row_progress() as progress:
        finished = learn_codec(opened, cut, plan, progress)
    learned = finished.cut(cut).learned
    assert learned is not None
    about = {
        "command": "ppsplit calibrate",
        "bundle": finished.manifest.name,
        "fingerprint": finished.manifest.fingerprint[:12],
        "cut": finished.cut(cut).name,
        "images": learned.images,
        "curve_images": learned.curve_images,
        "ap_unsplit": learned.ap_unsplit,
        "target_kl": target_kl,
    }
    print_table(curve_rows(learned), title=f"curve on {learned.curve_images} images", json_path=json, about=about)
    print(f"bundle {finished.root}, fingerprint {finished.manifest.fingerprint[:12]}, quality {learned.quality}")


def _photos(
    images: Path, count: int, preprocess: Preprocess, root: Optional[Path], val_split: str, limit: Optional[int]
) -> Tuple[List[Path], Judged]:
    try:
        photos = list_images(images)
    except DataError as error:
        raise CalibrationError(f"cannot calibrate: {error}") from error
    if count < 1:
        raise CalibrationError(f"calibration needs at least one image, not {count}")
    learnt_from, others = held_out(photos, count)
    if root is None:
        return learnt_from, Judged(inputs_of(others, preprocess))
    coco_set = CocoSet.open(*find_split(root, val_split))
    coco_set = coco_set if limit is None else coco_set.first(limit)
    pairs = [to_input(read_image(image.path), preprocess) for image in coco_set.images]
    return learnt_from, Judged([pixels for pixels, _ in pairs], coco_set, [placement for _, placement in pairs])
