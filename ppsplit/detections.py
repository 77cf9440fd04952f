"""What a detector found in one image, and the box arithmetic that belongs to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ppsplit.masks import RunLengths


@dataclass(frozen=True)
class Detections:
    """Objects found in one image, best score first.

    Attributes:
        boxes_xyxy: float32 [N, 4]; x1, y1, x2, y2 in pixels.
        scores: float32 [N], in 0..1.
        class_ids: int64 [N].
        masks: N of the same size, in the picture that the boxes lie in; None where the network makes none.

    Raises:
        ValueError: lengths or ranks do not agree.
    """

    boxes_xyxy: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    masks: Optional[Tuple[RunLengths, ...]] = None

    def __post_init__(self) -> None:
        count = len(self.scores)
        shapes = (self.boxes_xyxy.shape, self.scores.shape, self.class_ids.shape)
        if shapes != ((count, 4), (count,), (count,)):
            raise ValueError(f"boxes [N, 4], scores [N] and class_ids [N] expected, got {shapes}")
        if self.masks is not None and (len(self.masks) != count or len({mask.hw for mask in self.masks}) > 1):
            raise ValueError(f"{count} masks of one size expected, got {[mask.hw for mask in self.masks][:8]}")

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def empty(cls) -> "Detections":
        """No object at all."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))

    def with_boxes(self, boxes_xyxy: np.ndarray) -> "Detections":
        """The same objects with other boxes (float32 [N, 4]) and, since those lie elsewhere now, without masks."""
        return Detections(boxes_xyxy, self.scores, self.class_ids)

    def with_masks(self, masks: Optional[Sequence[RunLengths]]) -> "Detections":
        """The same objects with these masks."""
        return Detections(self.boxes_xyxy, self.scores, self.class_ids, None if masks is None else tuple(masks))

    def take(self, index: np.ndarray) -> "Detections":
        """Those at `index` (int64 [K]), in its order."""
        taken = Detections(self.boxes_xyxy[index], self.scores[index], self.class_ids[index])
        return taken if self.masks is None else taken.with_masks([self.masks[i] for i in index])

    def to_records(self, class_names: Sequence[str] = ()) -> List[Dict[str, Any]]:
        """One JSON-ready dict per object: class_id, class_name (where known), score, box_xyxy, mask (where made)."""
        records = []
        for index, (box, score, class_id) in enumerate(zip(self.boxes_xyxy, self.scores, self.class_ids)):
            record: Dict[str, Any] = {"class_id": int(class_id)}
            if class_id < len(class_names):
                record["class_name"] = class_names[class_id]
            record["score"] = round(float(score), 5)
            record["box_xyxy"] = [round(float(v), 2) for v in box]
            if self.masks is not None:
                record["mask"] = self.masks[index].to_json()
            records.append(record)
        return records

    @classmethod
    def from_records(cls, records: Sequence[Dict[str, Any]]) -> "Detections":
        """Inverse of `to_records` up to its rounding.

        Raises:
            KeyError, TypeError, ValueError: a record lacks a field or holds something else.
        """
        if not records:
            return cls.empty()
        masks = [RunLengths.from_json(r["mask"]) for r in records] if "mask" in records[0] else None
        return cls(
            np.array([r["box_xyxy"] for r in records], np.float32),
            np.array([r["score"] for r in records], np.float32),
            np.array([r["class_id"] for r in records], np.int64),
            None if masks is None else tuple(masks),
        )


def pairwise_iou(boxes_a_xyxy: np.ndarray, boxes_b_xyxy: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair.

    Args:
        boxes_a_xyxy: float [A, 4]; x1, y1, x2, y2.
        boxes_b_xyxy: float [B, 4].

    Returns:
        float [A, B] in 0..1; 0 where a union is empty.
    """
    top_left = np.maximum(boxes_a_xyxy[:, None, :2], boxes_b_xyxy[None, :, :2])
    bottom_right = np.minimum(boxes_a_xyxy[:, None, 2:], boxes_b_xyxy[None, :, 2:])
    intersection = np.clip(bottom_right - top_left, 0, None).prod(axis=2)
    union = box_area(boxes_a_xyxy)[:, None] + box_area(boxes_b_xyxy)[None, :] - intersection
    return np.where(union > 0, intersection / np.where(union > 0, union, 1), 0)


def box_area(boxes_xyxy: np.ndarray) -> np.ndarray:
    """Areas, float [N], of boxes float [N, 4]; an inverted box has area 0."""
    return np.clip(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0, None).prod(axis=1)


def nms(boxes_xyxy: np.ndarray, scores: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Greedy non-maximum suppression of one class.

    Args:
        boxes_xyxy: float [N, 4].
        scores: float [N].
        iou_threshold: a box is dropped when its IoU with a better kept one is *above* this.

    Returns:
        int64 [K], indices of the kept boxes, best first. Equal scores keep their input order.
    """
    order = np.argsort(-scores, kind="stable")
    kept: List[int] = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(int(best))
        overlap = pairwise_iou(boxes_xyxy[best : best + 1], boxes_xyxy[rest])[0]
        order = rest[overlap <= iou_threshold]
    return np.array(kept, np.int64)


def class_wise_nms(candidates: Detections, iou_threshold: float, max_detections: int) -> Detections:
    """NMS within each class; then the `max_detections` best of all classes, best first."""
    return candidates.take(class_wise_nms_index(candidates, iou_threshold, max_detections))


def class_wise_nms_index(candidates: Detections, iou_threshold: float, max_detections: int) -> np.ndarray:
    """As `class_wise_nms`: int64 [K], where those that stay stand among the candidates."""
    kept = [np.zeros(0, np.int64)]
    for class_id in np.unique(candidates.class_ids):
        members = np.flatnonzero(candidates.class_ids == class_id)
        kept.append(members[nms(candidates.boxes_xyxy[members], candidates.scores[members], iou_threshold)])
    index = np.concatenate(kept)
    return index[np.argsort(-candidates.scores[index], kind="stable")][:max_detections]
