"""How far class scores moved: the binary Kullback-Leibler divergence, in nats.

Far less noisy than AP on a few hundred images, and it needs no labels: the scores of the unchanged network are the
truth.
"""

from __future__ import annotations

import numpy as np

from ppsplit.errors import DataError

LEAST = 1e-5  # scores are clipped to LEAST .. 1 - LEAST
SEEN = 0.02  # anchors whose largest true score is not above say nothing, and are left out


def score_kl(truth: np.ndarray, scores: np.ndarray) -> float:
    """Sum of p ln(p / q) + (1 - p) ln((1 - p) / (1 - q)) over all classes of the anchors where some p > SEEN.

    Args:
        truth: p, of one image, [anchors, classes], 0..1; objectness times class probability where there is objectness.
        scores: q, the same of what is judged.

    Returns:
        nats; 0 where they agree, or where nothing is to be seen.

    Raises:
        DataError: shapes differ, or a score is no number from 0 to 1.
    """
    if truth.shape != scores.shape or truth.ndim != 2:
        raise DataError(f"scores are [anchors, classes] twice, got shapes {truth.shape} and {scores.shape}")
    if not all(((array >= 0) & (array <= 1)).all() for array in (truth, scores)):
        raise DataError("scores must be numbers from 0 to 1; is an output not finite?")
    seen = truth.max(axis=1, initial=0.0) > SEEN
    p, q = (np.clip(array[seen].astype(np.float64), LEAST, 1 - LEAST) for array in (truth, scores))
    return float((p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum())
