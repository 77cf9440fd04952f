"""What a classifier says of one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Sequence

import numpy as np


@dataclass(frozen=True)
class Classification:
    """The likeliest classes of one image, best first.

    Attributes:
        class_ids: int64 [K], each at most once.
        scores: float32 [K], in 0..1, descending.

    Raises:
        ValueError: lengths or ranks do not agree.
    """

    class_ids: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.scores)
        if (self.class_ids.shape, self.scores.shape) != ((count,), (count,)):
            raise ValueError(f"class_ids [K] and scores [K] expected, got {self.class_ids.shape}, {self.scores.shape}")

    def __len__(self) -> int:
        return len(self.scores)

    def to_records(self, class_names: Sequence[str] = ()) -> List[Dict[str, Any]]:
        """One JSON-ready dict per class: class_id, class_name (where known), score."""
        records = []
        for class_id, score in zip(self.class_ids, self.scores):
            record: Dict[str, Any] = {"class_id": int(class_id)}
            if class_id < len(class_names):
                record["class_name"] = class_names[class_id]
            record["score"] = round(float(score), 5)
            records.append(record)
        return records

    @classmethod
    def from_records(cls, records: Sequence[Dict[str, Any]]) -> "Classification":
        """Inverse of `to_records` up to its rounding.

        Raises:
            KeyError, TypeError, ValueError: a record lacks a field or holds something else.
        """
        return cls(
            np.array([r["class_id"] for r in records], np.int64).reshape(len(records)),
            np.array([r["score"] for r in records], np.float32).reshape(len(records)),
        )
