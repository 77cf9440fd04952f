"""Gradients of sampled answers by the raw outputs: what makes the Fisher information of a network's scores.

An answer y is drawn for every score p of the network itself, and the gradient of ln p(y) taken (Martens, "New insights
and perspectives on the natural gradient method", 2014, section 5). Its second moment G is the Fisher information, and
half of dx' G dx is, for small dx, the Kullback-Leibler divergence by which dx moves the scores.
"""

from __future__ import annotations

from typing import Dict, Mapping, Optional

import numpy as np

from ppsplit.bundle import DecodeSpec
from ppsplit.decode.scores import knows_scores, score_logits
from ppsplit.decode.yolov3 import sigmoid
from ppsplit.metrics.score_kl import LEAST, SEEN


def sampled_cotangents(
    outputs: Mapping[str, np.ndarray], spec: DecodeSpec, rng: np.random.Generator
) -> Dict[str, np.ndarray]:
    """Gradients of a drawn answer by the raw outputs, float32 of their shapes.

    Only anchors that `metrics.score_kl` looks at count. Where the family's scores are not known, the answer is any
    direction, so that all outputs count alike.

    Raises:
        InferenceRuntimeError: the outputs are not the family's.
    """
    if not knows_scores(spec):
        return {name: rng.standard_normal(output.shape).astype(np.float32) for name, output in outputs.items()}
    found = {name: np.zeros(output.shape, np.float32) for name, output in outputs.items()}
    for logits, gradient in zip(score_logits(outputs, spec), score_logits(found, spec)):
        classes = sigmoid(logits.classes.astype(np.float64))
        if logits.objectness is None:
            _write(gradient.classes, classes, np.ones_like(classes[:, :, :1]), None, rng)
        else:
            _write(gradient.classes, classes, sigmoid(logits.objectness.astype(np.float64)), gradient.objectness, rng)
    return found


def _write(
    by_classes: np.ndarray,
    classes: np.ndarray,
    objectness: np.ndarray,
    by_objectness: Optional[np.ndarray],
    rng: np.random.Generator,
) -> None:
    """Of ln p for y = 1 and of ln (1 - p) for y = 0, where p = objectness * classes."""
    scores = objectness * classes
    seen = scores.max(axis=2, keepdims=True) > SEEN
    answers = rng.random(scores.shape) < scores
    outer = np.where(seen, (answers - scores) / np.maximum(1 - scores, LEAST), 0.0)
    by_classes[...] = outer * (1 - classes)
    if by_objectness is not None:
        by_objectness[...] = (outer * (1 - objectness)).sum(axis=2, keepdims=True)
