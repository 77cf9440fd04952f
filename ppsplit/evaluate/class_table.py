"""The table of a classifier's split: top-1 and top-5 where `split_table` has AP, all else alike."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

from ppsplit.bundle import Bundle
from ppsplit.classification import Classification
from ppsplit.data.class_folder import ClassFolder
from ppsplit.errors import DataError
from ppsplit.evaluate.rows import Row
from ppsplit.evaluate.split_table import Measure, Progress, measured, measured_row
from ppsplit.metrics.top_k import MOST_COUNTED, top_k

TOP_K_ARGUMENTS = ("--score-threshold", "0", "--max-detections", str(MOST_COUNTED))


def class_table(
    bundle: Bundle,
    folder: ClassFolder,
    wanted: Sequence[str],
    threads: int,
    progress: Progress,
    measure: Optional[Measure] = None,
) -> List[Dict[str, Any]]:
    """Measure every row over real processes and sockets.

    Args and returns as `split_table`, with top1 and top5 instead of ap and ap50.

    Raises:
        DataError: an image could not be read.
        PPSplitError: a half failed.
    """
    with _staged_images(folder) as staged:
        reports = (measure or measured)(bundle, staged, wanted, threads, TOP_K_ARGUMENTS, progress)
        return [{**measured_row(row, report), **_accuracy(row, report, folder)} for row, report in reports]


def _accuracy(row: Row, report: Dict[str, Any], folder: ClassFolder) -> Dict[str, float]:
    images = report["images"]
    if len(images) != len(folder.images):
        raise DataError(f"row {row.name}: {len(folder.images) - len(images)} images could not be read")
    truth = [folder.images[int(Path(image["image"]).stem)].class_id for image in images]
    found = [Classification.from_records(image["classes"]) for image in images]
    return {name: round(share, 4) for name, share in top_k(found, truth).items()}


@contextlib.contextmanager
def _staged_images(folder: ClassFolder) -> Iterator[Path]:
    """One folder with all the images, named by their numbers: those of two classes may have the same names."""
    with tempfile.TemporaryDirectory() as scratch:
        for number, image in enumerate(folder.images):
            os.symlink(image.path.resolve(), Path(scratch) / f"{number:06d}{image.path.suffix}")
        yield Path(scratch)
