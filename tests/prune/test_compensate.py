"""Refitted weights against numpy's least squares, and losses that can be made up for entirely."""

from __future__ import annotations

import copy
from typing import List, Tuple

import numpy as np
import pytest

from ppsplit.paddle_first import paddle
from ppsplit.prune import compensate as compensation
from ppsplit.prune.channels import Pruner
from ppsplit.prune.compensate import Patches, compensate, kept_inputs, readers, watch
from tests.models.seeded import random_image

from .conftest import DARKNET, TINY, narrow


@pytest.fixture(scope="module")
def images() -> List[np.ndarray]:
    return [random_image(seed, 64, 64)[None] for seed in range(6)]


def seen_by(network: paddle.nn.Layer, name: str, images: List[np.ndarray]) -> Tuple[np.ndarray, np.ndarray]:
    """All patches [rows, D] that a layer's convolution reads, as Paddle cuts them out, and its kernels [O, D]."""
    conv = dict(network.named_sublayers())[name].conv
    caught: List[paddle.Tensor] = []
    handle = conv.register_forward_pre_hook(lambda _layer, given: caught.append(given[0]))
    with paddle.no_grad():
        network(paddle.to_tensor(np.concatenate(images)))
        kernel, stride, padding = conv.weight.shape[2], conv._stride[0], conv._padding
        patches = paddle.nn.functional.unfold(caught[0], kernel, stride, padding).numpy()
    handle.remove()
    rows = patches.transpose(0, 2, 1).reshape(-1, patches.shape[1]).astype(np.float64)
    return rows, conv.weight.numpy().reshape(conv.weight.shape[0], -1).astype(np.float64)


@pytest.mark.parametrize("ridge", [0.0, 0.1])
@pytest.mark.parametrize(
    ("model", "width", "name"), [(TINY, 0.1, "conv4"), (TINY, 0.1, "conv1"), (DARKNET, 0.05, "stage2.down")]
)
def test_refitting_is_least_squares(
    model: str, width: float, name: str, ridge: float, images: List[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compensation, "RIDGE", ridge)
    monkeypatch.setattr(compensation, "POSITIONS", 64 * 64)
    network = narrow(model, width)
    rows, kernels = seen_by(network, name, images)
    inputs = rows.shape[1] // 9
    stay = np.arange(inputs) % 3 != 1
    columns = np.repeat(stay, 9)
    made_of = np.column_stack([rows[:, columns], np.ones(len(rows))])
    lacking = rows[:, ~columns] @ kernels[:, ~columns].T
    shrunk = np.sqrt(ridge * (rows**2).sum(0).mean()) * np.eye(made_of.shape[1])[:-1]  # all but the bias
    wanted, *_ = np.linalg.lstsq(
        np.concatenate([made_of, shrunk]), np.concatenate([lacking, np.zeros((len(shrunk), len(kernels)))]), rcond=None
    )
    weight, bias = watch(network, [name], images)[name].refitted(np.flatnonzero(stay))
    scale = np.abs(kernels).max()
    np.testing.assert_allclose(weight, kernels[:, columns] + wanted[:-1].T, atol=1e-3 * scale)
    np.testing.assert_allclose(bias, wanted[-1], atol=1e-3 * scale)
    assert np.abs(bias).max() > 0.01 * scale  # it has something to do


def test_some_positions_stand_for_all(images: List[np.ndarray]) -> None:
    network = narrow()
    watched = watch(network, ["conv1", "conv5"], images)
    rows, _ = seen_by(network, "conv1", images)
    few = watched["conv1"].gram
    assert few[-1, -1] == compensation.POSITIONS * len(images) < len(rows)
    every = np.column_stack([rows, np.ones(len(rows))])
    similar = every.T @ every / len(rows)
    np.testing.assert_allclose(few / few[-1, -1], similar, atol=0.05 * similar.max())
    assert watched["conv5"].gram[-1, -1] == 4 * 4 * len(images)  # fewer than POSITIONS: all of them, once


def test_progress_is_told(images: List[np.ndarray]) -> None:
    told: List[Tuple[int, int]] = []
    watch(narrow(), ["conv1"], images, lambda *counts: told.append(counts))
    assert told == [(4, 6), (6, 6)]


def repeat(network: paddle.nn.Layer, makers: List[str], source: int, target: int, factor: float) -> None:
    """Make a channel `factor` times another: leaky(f x) = f leaky(x) for f > 0."""
    layers = dict(network.named_sublayers())
    for maker in makers:
        conv, bn = layers[maker].conv, layers[maker].bn
        for tensor, by in ((conv.weight, 1), (bn._mean, 1), (bn._variance, 1), (bn.weight, factor), (bn.bias, factor)):
            values = tensor.numpy()
            values[target] = values[source] * by
            tensor.set_value(values)


def outputs(network: paddle.nn.Layer, images: List[np.ndarray]) -> List[np.ndarray]:
    with paddle.no_grad():
        return [head.numpy() for head in network(paddle.to_tensor(np.concatenate(images)))]


def error(network: paddle.nn.Layer, whole: paddle.nn.Layer, images: List[np.ndarray]) -> float:
    pairs = zip(outputs(network, images), outputs(whole, images))
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def pruner_of(network: paddle.nn.Layer, similar: Pruner) -> Pruner:
    """`similar` for a network of the same shape: looking for its groups takes seconds."""
    pruner = copy.copy(similar)
    pruner.network = network
    return pruner


def drop(pruner: Pruner, name: str, channel: int, images: List[np.ndarray]) -> Tuple[float, float]:
    """The error when a channel of a group goes: without and with compensation."""
    whole = pruner.network
    kept = {name: np.setdiff1d(np.arange(pruner.groups[name].channels), [channel])}
    pruned = pruner.pruned(kept)
    before = error(pruned, whole, images)
    compensate(pruned, pruner.groups, kept, watch(whole, readers({name: pruner.groups[name]}), images))
    return before, error(pruned, whole, images)


@pytest.mark.parametrize(
    ("model", "width", "name"),
    [
        *((TINY, 0.1, name) for name in ("conv1", "conv4", "conv5", "neck", "lateral", "head32_conv")),
        *((DARKNET, 0.05, name) for name in ("stem", "stage2.down", "stage3.down", "stage3.block2.reduce")),
    ],
)
def test_a_repeated_channel_is_not_missed(
    model: str,
    width: float,
    name: str,
    images: List[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setattr(compensation, "RIDGE", 1e-7)
    monkeypatch.setattr(compensation, "POSITIONS", 64 * 64)
    similar = request.getfixturevalue("tiny_pruner" if model == TINY else "darknet_pruner")
    pruner = pruner_of(narrow(model, width), similar)
    repeat(pruner.network, pruner.groups[name].makers, 1, 3, 1.5)
    before, after = drop(pruner, name, 3, images)
    assert after < 1e-4 and before > 10 * after and before > 1e-3


@pytest.mark.parametrize("name", ["conv7", "head16_conv"])  # read by a bias that is in BN's mean, and by a head's own
def test_a_constant_channel_becomes_a_bias(
    name: str, images: List[np.ndarray], monkeypatch: pytest.MonkeyPatch, tiny_pruner: Pruner
) -> None:
    monkeypatch.setattr(compensation, "RIDGE", 1e-7)
    whole = narrow()
    layer = dict(whole.named_sublayers())[name]
    for tensor, value in ((layer.conv.weight, 0.0), (layer.bn._mean, 0.0), (layer.bn.bias, 2.0)):
        values = tensor.numpy()
        values[2] = value
        tensor.set_value(values)
    before, after = drop(pruner_of(whole, tiny_pruner), name, 2, images)
    assert after < 1e-4 and before > 1e-2


@pytest.mark.parametrize("name", ["head32_conv", "head16_conv"])
def test_a_head_is_nearer_than_without(name: str, images: List[np.ndarray]) -> None:
    whole = narrow()
    pruner = Pruner(whole, "l1")
    kept = pruner.kept({name: pruner.groups[name].channels // 2})
    pruned = pruner.pruned(kept)
    refitted = copy.deepcopy(pruned)
    compensate(refitted, pruner.groups, kept, watch(whole, readers(pruner.groups), images))
    head = ["head32_conv", "head16_conv"].index(name)
    wanted = outputs(whole, images)[head]
    near, far = (((outputs(n, images)[head] - wanted) ** 2).mean() for n in (refitted, pruned))
    assert near < 0.7 * far


def test_a_layer_that_loses_inputs_and_outputs(images: List[np.ndarray]) -> None:
    whole = narrow()
    pruner = Pruner(whole, "l1")
    seen = watch(whole, readers(pruner.groups), images)
    kept = {"conv3": np.array([0, 2, 5]), "conv4": np.array([1, 4, 12])}
    pruned = pruner.pruned(kept)
    compensate(pruned, pruner.groups, kept, seen)
    weight, bias = seen["conv4"].refitted(kept["conv3"])
    np.testing.assert_array_equal(pruned.conv4.conv.weight.numpy(), weight[kept["conv4"]].reshape(3, 3, 3, 3))
    mean = whole.conv4.bn._mean.numpy()[kept["conv4"]] - bias[kept["conv4"]]
    np.testing.assert_allclose(pruned.conv4.bn._mean.numpy(), mean, rtol=1e-6)


def test_inputs_from_two_groups(tiny: paddle.nn.Layer, tiny_pruner: Pruner) -> None:
    nothing = {name: Patches(np.eye(1), np.zeros((1, 39)), 1) for name in ("head16_conv",)}  # 13 lateral, 26 conv5
    kept = {"conv5": np.array([0, 3, 25]), "lateral": np.array([2, 12])}
    assert tiny_pruner.groups["lateral"].channels == 13 and tiny_pruner.groups["conv5"].channels == 26
    found = kept_inputs(tiny_pruner.groups, kept, nothing)
    assert {name: list(inputs) for name, inputs in found.items()} == {"head16_conv": [2, 12, 13, 16, 38]}
    one = kept_inputs(tiny_pruner.groups, {"lateral": kept["lateral"]}, nothing)
    assert list(one["head16_conv"]) == [2, 12, *range(13, 39)]
    assert kept_inputs(tiny_pruner.groups, {"conv5": np.arange(26)}, nothing) == {}  # all stay
    assert kept_inputs(tiny_pruner.groups, {"conv1": np.array([0])}, nothing) == {}  # its reader was not watched


def test_who_reads(tiny_pruner: Pruner) -> None:
    chosen = {name: tiny_pruner.groups[name] for name in ("conv5", "lateral")}
    assert readers(chosen) == ["conv6", "head16_conv"] and readers({}) == []
