"""COCO average precision of boxes and of masks, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from typing import Any, Dict, List, Mapping

from ppsplit.data.coco import CocoSet, read_coco_json
from ppsplit.detections import Detections

# Positions in COCOeval.stats.
_STATS = {"ap": 0, "ap50": 1, "ap75": 2, "ap_small": 3, "ap_medium": 4, "ap_large": 5}
BOXES, MASKS = "bbox", "segm"  # pycocotools' names


def coco_box_ap(coco_set: CocoSet, found: Mapping[int, Detections]) -> Dict[str, float]:
    """Average precision over the images of `coco_set`.

    Args:
        found: image id to detections in original-image pixels; an image that is missing counts as empty.

    Returns:
        ap (IoU .50:.95), ap50, ap75, ap_small, ap_medium, ap_large, each 0..1, or -1 where undefined.
    """
    return _average_precision(coco_set, found, BOXES)


def coco_mask_ap(coco_set: CocoSet, found: Mapping[int, Detections]) -> Dict[str, float]:
    """As `coco_box_ap`, by the IoU of masks, which every detection must have. Sizes are the masks' areas."""
    return _average_precision(coco_set, found, MASKS)


def coco_ap(coco_set: CocoSet, found: Mapping[int, Detections]) -> Dict[str, float]:
    """Boxes' AP as `coco_box_ap` and, where there are masks in both, theirs beside it, named "mask_ap" and so on."""
    precision = coco_box_ap(coco_set, found)
    if any(detections.masks is not None for detections in found.values()) and _tells_masks(coco_set):
        precision.update({f"mask_{name}": value for name, value in coco_mask_ap(coco_set, found).items()})
    return precision


def _tells_masks(coco_set: CocoSet) -> bool:
    """Whether every annotation has its outline; a set that was made for boxes may have none."""
    return all(annotation.get("segmentation") for annotation in read_coco_json(coco_set.annotations)["annotations"])


def _average_precision(coco_set: CocoSet, found: Mapping[int, Detections], kind: str) -> Dict[str, float]:
    if not any(len(found.get(image.image_id, ())) for image in coco_set.images):
        return dict.fromkeys(_STATS, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = coco_evaluation(coco_set, found, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: float(evaluation.stats[position]) for name, position in _STATS.items()}


def coco_evaluation(coco_set: CocoSet, found: Mapping[int, Detections], kind: str = BOXES) -> Any:
    """COCOeval of pycocotools over the images of `coco_set`, nothing evaluated yet; `found` as in `coco_box_ap`."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(coco_set.annotations))
        records = _records(coco_set, found, kind)
        evaluation = COCOeval(truth, truth.loadRes(records) if records else COCO(), kind)  # loadRes takes no []
    evaluation.params.imgIds = [image.image_id for image in coco_set.images]
    return evaluation


def _records(coco_set: CocoSet, found: Mapping[int, Detections], kind: str) -> List[Dict[str, Any]]:
    records = []
    for image in coco_set.images:
        detections = found.get(image.image_id, Detections.empty())
        shapes = _boxes(detections) if kind == BOXES else _masks(detections)
        for shape, score, class_id in zip(shapes, detections.scores.tolist(), detections.class_ids.tolist()):
            category = coco_set.category_ids[class_id]
            records.append({"image_id": image.image_id, "category_id": category, **shape, "score": score})
    return records


def _boxes(detections: Detections) -> List[Dict[str, Any]]:
    return [{"bbox": [x1, y1, x2 - x1, y2 - y1]} for x1, y1, x2, y2 in detections.boxes_xyxy.tolist()]


def _masks(detections: Detections) -> List[Dict[str, Any]]:
    return [{"segmentation": mask.to_json()} for mask in detections.masks or ()]
