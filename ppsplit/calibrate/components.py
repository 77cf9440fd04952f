"""Which components of a tensor the task minds most: principal components of M^(1/2) x, M = E[g g'].

With g the gradient of a sampled answer, |dz|^2 / 2 of z = U' M^(1/2) (x - mean) is what an error dx costs in nats, so
one step for all components spends bits where they help; small components fall to zero by themselves.
"""

from __future__ import annotations

from typing import Tuple

import numpy as np

from ppsplit.errors import CalibrationError

RIDGE = 0.01  # of M's mean eigenvalue: what no photo minded may matter on others


def weighted_components(covariance: np.ndarray, importance: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """The transform and the variances of its components.

    Args:
        covariance: of the tensor over positions, [C, C].
        importance: M, [C, C].

    Returns:
        forward, float64 [C, C], rows by falling variance; variances, float64 [C].

    Raises:
        CalibrationError: nothing varies, or nothing matters.
    """
    channels = len(covariance)
    mean_weight = np.trace(importance) / channels
    if not (np.isfinite(mean_weight) and mean_weight > 0):
        raise CalibrationError("no photo has anything that the network sees; calibrate with others, or with more")
    if not np.trace(covariance) > 0:
        raise CalibrationError("the features are the same everywhere on all photos; calibrate with others")
    weights, axes = np.linalg.eigh(importance + RIDGE * mean_weight * np.eye(channels))
    root = (axes * np.sqrt(np.maximum(weights, 0))) @ axes.T
    variances, directions = np.linalg.eigh(root @ covariance @ root)
    order = np.argsort(-variances, kind="stable")
    return directions[:, order].T @ root, np.maximum(variances[order], 0)
