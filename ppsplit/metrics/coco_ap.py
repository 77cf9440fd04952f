"""COCO box average precision, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from typing import Any, Dict, List, Mapping

from ppsplit.data.coco import CocoSet
from ppsplit.detections import Detections

# Positions in COCOeval.stats.
_STATS = {"ap": 0, "ap50": 1, "ap75": 2, "ap_small": 3, "ap_medium": 4, "ap_large": 5}


def coco_box_ap(coco_set: CocoSet, found: Mapping[int, Detections]) -> Dict[str, float]:
    """Average precision over the images of `coco_set`.

    Args:
        found: image id to detections in original-image pixels; an image that is missing counts as empty.

    Returns:
        ap (IoU .50:.95), ap50, ap75, ap_small, ap_medium, ap_large, each 0..1, or -1 where undefined.
    """
    if not any(len(found.get(image.image_id, ())) for image in coco_set.images):
        return dict.fromkeys(_STATS, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = coco_evaluation(coco_set, found)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: float(evaluation.stats[position]) for name, position in _STATS.items()}


def coco_evaluation(coco_set: CocoSet, found: Mapping[int, Detections]) -> Any:
    """COCOeval of pycocotools over the images of `coco_set`, nothing evaluated yet; `found` as in `coco_box_ap`."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(coco_set.annotations))
        records = _records(coco_set, found)
        evaluation = COCOeval(truth, truth.loadRes(records) if records else COCO(), "bbox")  # loadRes takes no []
    evaluation.params.imgIds = [image.image_id for image in coco_set.images]
    return evaluation


def _records(coco_set: CocoSet, found: Mapping[int, Detections]) -> List[Dict[str, Any]]:
    records = []
    for image in coco_set.images:
        detections = found.get(image.image_id, Detections.empty())
        for (x1, y1, x2, y2), score, class_id in zip(
            detections.boxes_xyxy.tolist(), detections.scores.tolist(), detections.class_ids.tolist()
        ):
            records.append(
                {
                    "image_id": image.image_id,
                    "category_id": coco_set.category_ids[class_id],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "score": score,
                }
            )
    return records
