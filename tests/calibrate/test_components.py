"""Task-weighted components and sampled cotangents: against closed forms and brute force."""

from __future__ import annotations

import numpy as np
import pytest

from ppsplit.bundle import DecodeSpec
from ppsplit.calibrate.components import weighted_components
from ppsplit.calibrate.cotangents import sampled_cotangents
from ppsplit.calibrate.fit import fit_tables
from ppsplit.calibrate.observe import Observed
from ppsplit.codec.learned import LearnedCodec
from ppsplit.decode.scores import class_scores
from ppsplit.errors import CalibrationError
from ppsplit.metrics.score_kl import score_kl

SPEC = DecodeSpec("yolov3", {"masks": [[0, 1]], "num_classes": 3})


def _random_covariance(size: int, seed: int) -> np.ndarray:
    factor = np.random.default_rng(seed).standard_normal((size, size))
    return factor @ factor.T


def test_components_are_uncorrelated_and_keep_the_weighted_norm() -> None:
    covariance, importance = _random_covariance(6, 0), _random_covariance(6, 1)
    forward, variances = weighted_components(covariance, importance)
    np.testing.assert_allclose(forward @ covariance @ forward.T, np.diag(variances), atol=1e-9 * variances[0])
    assert (np.diff(variances) <= 0).all()
    ridge = 0.01 * np.trace(importance) / 6 * np.eye(6)
    np.testing.assert_allclose(forward.T @ forward, importance + ridge, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("covariance", "importance"), [(0.0, 1.0), (1.0, 0.0), (1.0, np.nan)])
def test_nothing_varies_or_matters(covariance: float, importance: float) -> None:
    with pytest.raises(CalibrationError):
        weighted_components(np.eye(3) * covariance, np.eye(3) * importance)


@pytest.mark.parametrize("family", ["logits and objectness", "scores"])
def test_the_cotangents_second_moment_predicts_the_divergence(family: str) -> None:
    """E[(c . dx)^2] / 2 is the divergence of a small dx: what the whole weighting rests on."""
    rng = np.random.default_rng(3)
    if family == "scores":
        spec = DecodeSpec("picodet", {"strides": [8], "num_classes": 4})
        outputs = {"o": rng.uniform(0.1, 0.9, (1, 9, 4))}
        moved = rng.standard_normal(outputs["o"].shape) * 0.004
    else:
        spec = SPEC
        outputs = {"o": rng.standard_normal((1, 16, 3, 3)).astype(np.float64)}
        moved = rng.standard_normal(outputs["o"].shape) * 0.02
    before, after = (class_scores({"o": outputs["o"] + change}, spec)[0] for change in (0.0, moved))
    draws = [(sampled_cotangents(outputs, spec, rng)["o"] * moved).sum() ** 2 / 2 for _ in range(6000)]
    assert np.mean(draws) == pytest.approx(score_kl(before, after), rel=0.1)


def test_cotangents_of_anchors_that_nobody_sees_are_zero() -> None:
    outputs = {"o": np.full((1, 16, 2, 2), -6.0, np.float32)}
    assert not sampled_cotangents(outputs, SPEC, np.random.default_rng(0))["o"].any()


def test_cotangents_of_a_family_without_scores_are_any_direction() -> None:
    found = sampled_cotangents({"o": np.zeros((1, 4, 50, 50))}, DecodeSpec("raw"), np.random.default_rng(0))["o"]
    assert found.dtype == np.float32 and abs(found.std() - 1) < 0.05


def test_fitted_tables_beat_plain_rounding_of_channels() -> None:
    """A set of two tensors of different shapes, one direction of the first unimportant: it must cost nothing."""
    from ppsplit.bundle import TensorSpec

    rng = np.random.default_rng(0)
    specs = (TensorSpec("a", (-1, 4, 10, 12), "float32"), TensorSpec("b", (-1, 2, 5, 6), "float32"))

    def photo() -> dict:
        return {s.name: np.cumsum(rng.standard_normal((1, *s.shape[1:])), axis=-1).astype(np.float32) for s in specs}

    photos = [photo() for _ in range(24)]
    importance = {"a": np.diag([1.0, 1.0, 1.0, 0.0]), "b": np.eye(2)}
    observed = {}
    for spec in specs:
        maps = [features[spec.name][0] for features in photos]
        minded = np.sqrt(importance[spec.name]).astype(np.float32)
        gradients = [np.einsum("ck,khw->chw", minded, rng.standard_normal(m.shape)).astype(np.float32) for m in maps]
        observed[spec.name] = Observed(maps, gradients, importance[spec.name])
    tables = fit_tables(observed, lambda *told: None)
    sent = photo()
    got = LearnedCodec(specs, tables, 64).decode(LearnedCodec(specs, tables, 64).encode(sent))
    errors = np.square(got["a"] - sent["a"]).mean(axis=(0, 2, 3))
    assert errors[3] > 5 * errors[:3].max()
    assert errors[:3].max() < 0.02 * np.square(sent["a"]).mean()
    assert np.square(got["b"] - sent["b"]).mean() < 0.02 * np.square(sent["b"]).mean()
