"""AP of each quantized edge half with the fp32 cloud half behind it, and how sure its difference from fp32 is."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Sequence

from ppsplit.bundle import TAIL
from ppsplit.data.coco import CocoSet
from ppsplit.detections import Detections
from ppsplit.edge.client import LocalClient
from ppsplit.edge.head import Head
from ppsplit.errors import DataError
from ppsplit.evaluate.quant_subjects import Subject
from ppsplit.evaluate.split_table import check_classes
from ppsplit.image import read_image
from ppsplit.metrics.bootstrap import ap_differences
from ppsplit.metrics.coco_ap import coco_box_ap
from ppsplit.runtime import load_program
from ppsplit.wire import Options

# COCO counts the 100 best detections of an image, however unsure.
OPTIONS = Options(score_threshold=0.001, max_detections=100)
POINTS = 100  # AP is told in hundredths
Progress = Callable[[str, int, int], None]


def accuracy_rows(
    subjects: Sequence[Subject], coco_set: CocoSet, resamples: int, progress: Progress
) -> List[Dict[str, Any]]:
    """AP of every head through its own runtime, nothing rounded on the way to the cloud half.

    Args:
        subjects: the one that the others are compared with first.
        resamples: draws of the bootstrap.
        progress: called with a row's name, its number and how many there are, before it is measured.

    Returns:
        name, ap, ap50; ap_points, the difference from the first row in hundredths, with its 95 % bootstrap interval
        over images, ap_points_low and ap_points_high; images.

    Raises:
        DataError: the set's categories are not the model's classes, or no image has an object.
    """
    check_classes(subjects[0].bundle, coco_set)
    found = []
    for number, subject in enumerate(subjects, 1):
        progress(f"AP of {subject.name}", number, len(subjects))
        found.append(detections_of(subject.load(), coco_set))
    precisions = [coco_box_ap(coco_set, each) for each in found]
    rows: List[Dict[str, Any]] = [
        {"name": subject.name, "ap": precision["ap"], "ap50": precision["ap50"], "images": len(coco_set.images)}
        for subject, precision in zip(subjects, precisions)
    ]
    for row, difference in zip(rows[1:], ap_differences(coco_set, found[0], found[1:], resamples)):
        ends = (("", difference.difference), ("_low", difference.low), ("_high", difference.high))
        row.update({f"ap_points{end}": value * POINTS for end, value in ends})
    return rows


def detections_of(head: Head, coco_set: CocoSet) -> Dict[int, Detections]:
    """Image id to what `head`, and the fp32 tail in Paddle Inference behind it, find.

    Raises:
        DataError: the bundle's network returns no boxes.
        InferenceRuntimeError, ImageError: a half failed, or an image cannot be read.
    """
    tail = load_program(head.bundle, head.bundle.program(head.cut, TAIL, "paddle"))
    client = LocalClient(head, tail, OPTIONS)
    found = {}
    for image in coco_set.images:
        detections = client.infer(read_image(image.path)).detections
        if detections is None:
            raise DataError("the bundle says no way from its outputs to boxes, so there is no AP; leave --root out")
        found[image.image_id] = detections
    return found
