"""LAPQ: the layer-wise optimum by brute force, known optima of quadratic losses, and small networks."""

from __future__ import annotations

import itertools
from typing import List

import numpy as np
import pytest

from ppsplit.errors import CalibrationError, QuantizationError
from ppsplit.quant.aciq import activation_clip
from ppsplit.quant.lapq import NORMS, Tensor, lapq, layer_clip, lowest_of_parabola, lp_error
from ppsplit.quant.uniform import signed_grid, symmetric

RNG = np.random.default_rng(0)
TENSORS = [Tensor(scale * RNG.laplace(size=2000), 4) for scale in (0.1, 1.0, 30.0)]


def test_the_norm_is_the_norm() -> None:
    values, quantizer = np.array([0.2, -0.4, 0.9, 5.0]), symmetric(3.0, 3)
    distances = np.abs(quantizer.fake(values) - values)
    for p in (1.0, 2.0, 3.5):
        assert lp_error(values, quantizer, p) == pytest.approx(np.mean(distances**p) ** (1 / p))
    assert lp_error(values, quantizer, 400.0) == pytest.approx(distances.max(), rel=0.01)
    assert lp_error(np.zeros(3), quantizer, 2.0) == 0


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("p", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("one_sided", [False, True])
def test_no_clip_of_a_dense_grid_is_better(bits: int, p: float, one_sided: bool) -> None:
    values = RNG.laplace(size=2000)
    tensor = Tensor(np.abs(values) if one_sided else values, bits, one_sided)
    found = lp_error(tensor.samples, tensor.quantizer(layer_clip(tensor, p)), p)
    largest = float(np.abs(values).max())
    dense = [lp_error(tensor.samples, tensor.quantizer(clip), p) for clip in np.linspace(0.005, 1, 300) * largest]
    assert found <= 1.01 * min(dense)


def test_a_larger_norm_clips_less() -> None:
    clips = [layer_clip(TENSORS[1], p) for p in (1.0, 2.0, 4.0, 8.0)]
    assert clips == sorted(clips) and clips[0] < 0.7 * clips[-1]


def test_the_second_norm_is_near_aciq() -> None:
    aciq = activation_clip(TENSORS[1].samples, signed_grid(4).intervals, False)
    assert layer_clip(TENSORS[1], 2.0) == pytest.approx(aciq, rel=0.2)


@pytest.mark.parametrize(
    ("values", "lowest"),
    [
        ([9, 4, 1, 0, 1], 3.5),
        ([0, 1, 4, 9, 16], 2.0),
        ([5, 5.5, 6.5, 8, 10], 2.0),
        ([1, 2, 2.5, 2, 1.5], 2.0),
        ([np.inf, np.nan, 3, 2, np.inf], 3.5),
        ([np.nan] * 5, 2.0),
    ],
    ids=["inside", "at its end", "outside", "upside down", "two finite", "none finite"],
)
def test_the_parabola(values: list, lowest: float) -> None:
    assert lowest_of_parabola(NORMS, values) == pytest.approx(lowest, abs=1e-9)


@pytest.mark.parametrize("coupling", [0.0, 0.9])
def test_a_quadratic_loss_is_brought_to_its_optimum(coupling: float) -> None:
    """(z - z*)^T H (z - z*) in z = log(clip), with a Hessian that is, and one that is not, diagonal."""
    optimum = np.array([0.25, 4.0, 50.0])
    hessian = np.eye(3) + coupling * (np.ones((3, 3)) - np.eye(3))

    def loss(clips: np.ndarray) -> float:
        away = np.log(clips / optimum)
        return 1.0 + float(away @ hessian @ away)

    found = lapq(TENSORS, loss)
    assert found.loss == pytest.approx(1.0, abs=5e-3)
    np.testing.assert_allclose(found.clips, optimum, rtol=0.1)
    assert found.loss <= found.layer_wise_loss and found.p in NORMS or NORMS[0] < found.p < NORMS[-1]
    assert found.evaluations < 2000


def small_network(bits: int, layers: int) -> tuple:
    """Weights of a chain of ReLU layers, and the loss of clip values for all of them."""
    rng = np.random.default_rng(layers)
    weights: List[np.ndarray] = [rng.standard_t(3, size=(12, 12)) / 6 for _ in range(layers)]
    image = rng.normal(size=(64, 12))

    def forward(used: List[np.ndarray]) -> np.ndarray:
        value = image
        for weight in used:
            value = np.maximum(value @ weight, 0)
        return value

    exact = forward(weights)
    tensors = [Tensor(weight, bits) for weight in weights]

    def loss(clips: np.ndarray) -> float:
        return float(
            np.square(forward([t.quantizer(c).fake(t.samples) for t, c in zip(tensors, clips)]) - exact).mean()
        )

    return tensors, loss


@pytest.mark.parametrize(("bits", "layers", "slack"), [(2, 2, 1.3), (4, 2, 1.15), (3, 3, 1.15)])
def test_it_comes_near_brute_force(bits: int, layers: int, slack: float) -> None:
    """Near and not there: Powell's method is local, and at 2 bits the loss has many valleys."""
    tensors, loss = small_network(bits, layers)
    found = lapq(tensors, loss)
    points = 40 if layers == 2 else 14
    ranges = [np.abs(t.samples).max() * np.linspace(0.06, 1, points) for t in tensors]
    best = min(loss(np.array(clips)) for clips in itertools.product(*ranges))
    assert found.loss <= slack * best
    assert found.loss < loss(np.array([np.abs(t.samples).max() for t in tensors]))
    assert found.loss < 0.97 * found.layer_wise_loss  # the joint step earns its keep
    assert loss(found.clips) == found.loss


def test_a_budget_ends_the_search_and_keeps_the_best() -> None:
    tensors, loss = small_network(3, 3)
    seen: List[float] = []

    def counted(clips: np.ndarray) -> float:
        seen.append(loss(clips))
        return seen[-1]

    found = lapq(tensors, counted, evaluations=30)
    assert found.evaluations == len(seen) <= 30 + 20 + len(NORMS) + 1  # Powell ends the line it is on
    assert found.loss == min(seen)


def test_infinite_losses_are_walked_around() -> None:
    tensors, loss = small_network(3, 2)
    edge = layer_clip(tensors[0], 2.0) * 1.2

    def broken(clips: np.ndarray) -> float:
        return float("nan") if clips[0] > edge else loss(clips)

    found = lapq(tensors, broken)
    assert np.isfinite(found.loss) and found.clips[0] <= edge


def test_what_cannot_be_calibrated_is_refused() -> None:
    with pytest.raises(QuantizationError, match="three"):
        lapq(TENSORS, lambda clips: 0.0, norms=(2, 3, 3))
    with pytest.raises(QuantizationError, match="no tensor"):
        lapq([], lambda clips: 0.0)
    with pytest.raises(QuantizationError, match="not finite"):
        lapq(TENSORS[:1], lambda clips: float("nan"))
    for samples in ([], [np.nan], [0.0, 0.0]):
        with pytest.raises(CalibrationError, match="samples"):
            layer_clip(Tensor(np.array(samples), 8), 2.0)
