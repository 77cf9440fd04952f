"""What decoders of several families check and do in the same way."""

from __future__ import annotations

from typing import List, Mapping, Sequence, Tuple, Union

import numpy as np

from ppsplit.detections import Detections
from ppsplit.errors import InferenceRuntimeError

MAX_CANDIDATES = 3000  # (box, class) pairs an image that NMS gets to see, the best ones
MAX_LOG_SIZE = 10.0  # exp(10) anchors or cells are wider than any image; beyond, areas would overflow float32
Outputs = Union[Mapping[str, np.ndarray], Sequence[np.ndarray]]


def checked_heads(outputs: Outputs, expected: Sequence[Tuple[int, ...]]) -> List[np.ndarray]:
    """The outputs as a list.

    Args:
        outputs: float arrays, the batch in front.
        expected: shape of each for one image; -1 where any size will do.

    Raises:
        InferenceRuntimeError: another number of outputs, other shapes, or values that are not finite.
    """
    heads = list(outputs.values()) if isinstance(outputs, Mapping) else list(outputs)
    shapes = [tuple(head.shape) for head in heads]
    batch = shapes[0][:1] if shapes else ()
    fits = len(shapes) == len(expected) and all(shape[:1] == batch for shape in shapes)
    if not fits or not all(_fits(shape[1:], wanted) for shape, wanted in zip(shapes, expected)):
        raise InferenceRuntimeError(
            f"the outputs have shapes {shapes}, expected {list(expected)} for each image, in this order; "
            "the decode parameters must belong to the network"
        )
    # a NaN would compare as no detection and pass in silence
    if not all(np.isfinite(head).all() for head in heads):
        raise InferenceRuntimeError("the outputs hold values that are not finite; certify the bundle's programs")
    return heads


def _fits(shape: Tuple[int, ...], wanted: Tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(w in (-1, size) for size, w in zip(shape, wanted))


def grid(height: int, width: int) -> np.ndarray:
    """float32 [height * width, 2]: column and row of each cell, row by row."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float32)


def best_candidates(boxes_xyxy: np.ndarray, scores: np.ndarray, threshold: float) -> Detections:
    """The best `MAX_CANDIDATES` pairs of a box and a class whose score is above the threshold, in the boxes' order.

    Args:
        boxes_xyxy: float32 [A, 4].
        scores: float32 [A, C].
    """
    box, class_ids = np.nonzero(scores > threshold)
    best = best_index(scores[box, class_ids])
    box, class_ids = box[best], class_ids[best]
    values = scores[box, class_ids].astype(np.float32)
    return Detections(boxes_xyxy[box].astype(np.float32), values, class_ids.astype(np.int64))


def best_index(scores: np.ndarray) -> np.ndarray:
    """Where the best `MAX_CANDIDATES` of float [K] stand, int64 ascending; all of them where there are no more."""
    if len(scores) <= MAX_CANDIDATES:
        return np.arange(len(scores))
    return np.sort(np.argsort(-scores, kind="stable")[:MAX_CANDIDATES])
