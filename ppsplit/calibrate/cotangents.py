"""Directions at the raw outputs whose gradients make the Fisher information of a network's scores.

The gradient of ln p(y) of an answer y that is drawn from the network's own scores has the Fisher information G as its
second moment (Martens, "New insights and perspectives on the natural gradient method", 2014, section 5), and half of
dx' G dx is, for small dx, the Kullback-Leibler divergence by which dx moves the scores. An answer is right seldom, and
then by much; a random sign times the standard deviation has the same second moment and scatters far less, so it takes
the answer's place here.
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
    """A random direction for the raw outputs, float32 of their shapes.

    Only anchors that `metrics.score_kl` looks at count. Where the family's scores are not known, it is any
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
    """By p = objectness * classes: the deviation 1 / sqrt(p (1 - p)) of ln p(y)'s gradient, with a random sign."""
    scores = objectness * classes
    seen = scores.max(axis=2, keepdims=True) > SEEN
    bounded = np.clip(scores, LEAST, 1 - LEAST)
    by_score = rng.choice((-1.0, 1.0), scores.shape) * seen / np.sqrt(bounded * (1 - bounded))
    return by_score * objectness, (by_score * classes).sum(axis=2, keepdims=True)
