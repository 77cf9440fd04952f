"""A classifier's output to its likeliest classes."""

from __future__ import annotations

from typing import List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from ppsplit.classification import Classification
from ppsplit.errors import InferenceRuntimeError

LOGITS, PROBABILITIES = "logits", "probabilities"


class ClassifyDecoder:
    """Decoder of one output [N, C]. Immutable, so threads may share it.

    Args:
        input_hw: not needed; every decoder is given it.
        num_classes: C.
        output: "logits", which become scores by softmax here, or "probabilities", which are scores already.
        top_k: how many classes are told.
        score_threshold: classes below are not told.

    Raises:
        ValueError: no such kind of output, or no class to tell.
    """

    def __init__(
        self,
        input_hw: Tuple[int, int],
        num_classes: int,
        output: str = LOGITS,
        top_k: int = 5,
        score_threshold: float = 0.0,
    ) -> None:
        if output not in (LOGITS, PROBABILITIES):
            raise ValueError(f"output must be {LOGITS!r} or {PROBABILITIES!r}, not {output!r}")
        if num_classes < 1 or top_k < 1:
            raise ValueError(f"num_classes and top_k must be 1 or more, not {num_classes} and {top_k}")
        self.num_classes, self.output, self.top_k, self.score_threshold = num_classes, output, top_k, score_threshold

    def __call__(
        self,
        outputs: Union[Mapping[str, np.ndarray], Sequence[np.ndarray]],
        score_threshold: Optional[float] = None,
        iou_threshold: Optional[float] = None,
        max_detections: Optional[int] = None,
    ) -> List[Classification]:
        """Decode a batch.

        Args:
            outputs: one array float [N, C], or [N, C, 1, 1].
            score_threshold: instead of the decoder's own.
            iou_threshold: plays no part: classes do not overlap.
            max_detections: instead of `top_k`.

        Returns:
            N classifications, best class first; of equal scores the smaller class id.

        Raises:
            InferenceRuntimeError: the output has another shape, or a value is not finite.
        """
        least = self.score_threshold if score_threshold is None else score_threshold
        count = min(max_detections or self.top_k, self.num_classes)
        scores = self._scores(list(outputs.values()) if isinstance(outputs, Mapping) else list(outputs))
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        found = []
        for row, index in zip(scores, order):
            index = index[row[index] >= least]
            found.append(Classification(index.astype(np.int64), row[index]))
        return found

    def _scores(self, arrays: List[np.ndarray]) -> np.ndarray:
        """float32 [N, C]."""
        shapes = [array.shape for array in arrays]
        if len(arrays) != 1 or shapes[0][1:] not in ((self.num_classes,), (self.num_classes, 1, 1)):
            raise InferenceRuntimeError(
                f"the outputs have shapes {shapes}, one of [N, {self.num_classes}] was expected; the decode parameters "
                "must belong to the network"
            )
        values = arrays[0].reshape(len(arrays[0]), self.num_classes).astype(np.float64)
        if not np.isfinite(values).all():
            raise InferenceRuntimeError("the output holds values that are not finite; certify the bundle's programs")
        return (softmax(values) if self.output == LOGITS else values).astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """exp(x) over its sum along the last axis, without overflow."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
