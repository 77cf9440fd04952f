"""Gradients of sampled answers by the raw outputs: what makes the Fisher information of a network's scores.

An answer y is drawn for every score p of the network itself, and the gradient of ln p(y) taken (Martens, "New insights
and perspectives on the natural gradient method", 2014, section 5). Its second moment G is the Fisher information, and
half of dx' G dx is, for small dx, the Kullback-Leibler divergence by which dx moves the scores.
"""

from __future__ import annotations

from typing import Dict, Mapping, Tuple

import numpy as np

from ppsplit.bundle import DecodeSpec
from ppsplit.decode.scores import knows_scores, raw_scores
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
    for raw, gradient in zip(raw_scores(outputs, spec), raw_scores(found, spec)):
        classes = raw.probabilities(raw.classes)
        objectness = np.ones_like(classes[:, :, :1]) if raw.objectness is None else raw.probabilities(raw.objectness)
        by_class, by_objectness = _by_probabilities(classes, objectness, rng)
        gradient.classes[...] = by_class * (_slope(classes) if raw.are_logits else 1.0)
        if gradient.objectness is not None:
            gradient.objectness[...] = by_objectness * (_slope(objectness) if raw.are_logits else 1.0)
    return found


def _slope(probabilities: np.ndarray) -> np.ndarray:
    """Of the sigmoid, where it has these values."""
    return probabilities * (1 - probabilities)


def _by_probabilities(
    classes: np.ndarray, objectness: np.ndarray, rng: np.random.Generator
) -> Tuple[np.ndarray, np.ndarray]:
    """Gradients of ln p for y = 1 and of ln (1 - p) for y = 0, where p = objectness * classes."""
    scores = objectness * classes
    seen = scores.max(axis=2, keepdims=True) > SEEN
    answers = rng.random(scores.shape) < scores
    by_score = np.where(answers, 1 / np.maximum(scores, LEAST), -1 / np.maximum(1 - scores, LEAST)) * seen
    return by_score * objectness, (by_score * classes).sum(axis=2, keepdims=True)
