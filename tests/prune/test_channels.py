"""Channels that belong together, which of them go, and that a pruned network computes what zeroed channels leave."""

from __future__ import annotations

import copy
from typing import Dict, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppsplit.errors import ConfigError
from ppsplit.models.blocks import ConvBN, HeadConv
from ppsplit.paddle_first import paddle
from ppsplit.prune.channels import KERNEL, ChannelGroup, Pruner

from .conftest import difference, drawn, heads, narrow, state

SAME, OTHER = 1e-5, 1e-3  # of the largest value: sums in another order; another function


def zeroed(
    network: paddle.nn.Layer, groups: Mapping[str, ChannelGroup], kept: Mapping[str, np.ndarray]
) -> paddle.nn.Layer:
    """The whole network, its dropped channels' maps all zero: leaky(0 x + 0)."""
    changed = copy.deepcopy(network)
    layers = dict(changed.named_sublayers())
    for name, indices in kept.items():
        dropped = np.setdiff1d(np.arange(groups[name].channels), indices)
        for maker in groups[name].makers:
            for tensor in (layers[maker].conv.weight, layers[maker].bn.weight, layers[maker].bn.bias):
                values = tensor.numpy()
                values[dropped] = 0
                tensor.set_value(values)
    return changed


def kernels(group: ChannelGroup, axis: int) -> Dict[str, int]:
    """Layer to offset, of the convolutions that make or read a group."""
    members = [m for m in group.members if m.axis == axis and m.tensor.endswith(KERNEL)]
    return {m.tensor[: -len(KERNEL)]: m.offset for m in members}


def test_groups_of_tiny(tiny: paddle.nn.Layer, tiny_pruner: Pruner) -> None:
    layers = dict(tiny.named_sublayers())
    made = [name for name, layer in layers.items() if isinstance(layer, ConvBN) and not isinstance(layer, HeadConv)]
    assert set(tiny_pruner.groups) == set(made)  # a head's own outputs are in none
    readers = {name: kernels(group, 1) for name, group in tiny_pruner.groups.items()}
    assert readers == {
        **{f"conv{i}": {f"conv{i + 1}": 0} for i in (1, 2, 3, 4, 6)},
        "conv5": {"conv6": 0, "head16_conv": layers["lateral"].conv.weight.shape[0]},  # behind lateral in the concat
        "conv7": {"neck": 0},
        "neck": {"head32_conv": 0, "lateral": 0},
        "lateral": {"head16_conv": 0},
        "head32_conv": {"head32": 0},
        "head16_conv": {"head16": 0},
    }
    for group in tiny_pruner.groups.values():
        assert group.makers == [group.name] and group.channels == layers[group.name].conv.weight.shape[0]


def test_every_tensor_with_a_groups_channels_is_a_member(tiny: paddle.nn.Layer, tiny_pruner: Pruner) -> None:
    found = sorted(m.tensor for group in tiny_pruner.groups.values() for m in group.members if m.axis == 0)
    heads_own = ("head32.", "head16.")
    assert found == sorted(name for name in state(tiny) if not name.startswith(heads_own))


def test_residual_blocks_tie_channels(darknet: paddle.nn.Layer, darknet_pruner: Pruner) -> None:
    groups, layers = darknet_pruner.groups, dict(darknet.named_sublayers())
    for stage, blocks in enumerate((1, 2, 8, 8, 4), 1):
        tied = groups[f"stage{stage}.down"]
        numbers = range(1, blocks + 1)
        assert tied.makers == [f"stage{stage}.down", *(f"stage{stage}.block{i}.expand" for i in numbers)]
        readers = kernels(tied, 1)
        assert set(readers) >= {f"stage{stage}.block{i}.reduce" for i in numbers}
        assert len(readers) == blocks + (2 if stage in (3, 4) else 1)  # what comes next, and a lateral concat
    for neck, lateral, group in (("neck8", "lateral8", "stage3.down"), ("neck16", "lateral16", "stage4.down")):
        assert kernels(groups[group], 1)[f"{neck}.conv1"] == layers[lateral].conv.weight.shape[0]
        assert kernels(groups[lateral], 1) == {f"{neck}.conv1": 0}
    made = {maker for group in groups.values() for maker in group.makers}
    assert made == {name for name, layer in layers.items() if isinstance(layer, ConvBN)}


@pytest.mark.parametrize("name", [*(f"conv{i}" for i in range(1, 8)), "neck", "lateral", "head32_conv", "head16_conv"])
def test_a_group_of_tiny_is_gone_as_if_zero(tiny: paddle.nn.Layer, tiny_pruner: Pruner, name: str) -> None:
    kept = {name: np.arange(0, tiny_pruner.groups[name].channels, 2)}
    pruned = heads(tiny_pruner.pruned(kept))
    assert difference(pruned, heads(zeroed(tiny, tiny_pruner.groups, kept))) < SAME
    assert difference(pruned, heads(tiny)) > OTHER


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_any_channels_of_tiny_are_gone_as_if_zero(tiny: paddle.nn.Layer, tiny_pruner: Pruner, seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [name for name in tiny_pruner.groups if rng.random() < 0.7]
    kept = drawn(tiny_pruner.groups, names, rng)
    pruned = tiny_pruner.pruned(kept)
    assert difference(heads(pruned), heads(zeroed(tiny, tiny_pruner.groups, kept))) < SAME
    widths = {name: layer.conv.weight.shape[0] for name, layer in pruned.named_children() if name in kept}
    assert widths == {name: len(indices) for name, indices in kept.items()}


RESIDUAL = [f"stage{i}.down" for i in range(1, 6)]
FEW = ["stem", *RESIDUAL, "stage4.block5.reduce", "neck32.conv5", "lateral16", "neck16.conv5", "lateral8", "head8_conv"]


@pytest.mark.parametrize("name", FEW)
def test_a_group_of_darknet_is_gone_as_if_zero(darknet: paddle.nn.Layer, darknet_pruner: Pruner, name: str) -> None:
    kept = {name: np.arange(1, darknet_pruner.groups[name].channels, 2)}
    pruned = heads(darknet_pruner.pruned(kept))
    assert difference(pruned, heads(zeroed(darknet, darknet_pruner.groups, kept))) < SAME
    assert difference(pruned, heads(darknet)) > OTHER


def test_all_groups_of_darknet_at_once(darknet: paddle.nn.Layer, darknet_pruner: Pruner) -> None:
    kept = drawn(darknet_pruner.groups, list(darknet_pruner.groups), np.random.default_rng(0))
    pruned = darknet_pruner.pruned(kept)
    assert difference(heads(pruned), heads(zeroed(darknet, darknet_pruner.groups, kept))) < SAME


def l1(conv: np.ndarray, _bn: paddle.nn.Layer) -> np.ndarray:
    return np.array([np.abs(kernel).sum() for kernel in conv])


def fpgm(conv: np.ndarray, _bn: paddle.nn.Layer) -> np.ndarray:
    """How far from all others: what lies in their midst is what they can replace."""
    return np.array([sum(np.linalg.norm(kernel - other) for other in conv) for kernel in conv])


def scale(_conv: np.ndarray, bn: paddle.nn.Layer) -> np.ndarray:
    return np.abs(bn.weight.numpy()) / np.sqrt(bn._variance.numpy() + 1e-5)


@pytest.mark.parametrize(("criterion", "worth"), [("l1", l1), ("fpgm", fpgm), ("bn", scale)])
def test_what_is_worth_most_stays(tiny: paddle.nn.Layer, criterion: str, worth: object) -> None:
    pruner = Pruner(tiny, criterion)
    layers = dict(tiny.named_sublayers())
    for name in ("conv2", "conv4", "lateral"):
        values = worth(layers[name].conv.weight.numpy(), layers[name].bn)  # type: ignore[operator]
        for count in range(1, pruner.groups[name].channels + 1):
            best = np.sort(np.argsort(values)[-count:])
            np.testing.assert_array_equal(pruner.kept({name: count})[name], best)


def test_the_first_maker_decides_for_a_residual_group(darknet: paddle.nn.Layer, darknet_pruner: Pruner) -> None:
    values = l1(dict(darknet.named_sublayers())["stage3.down"].conv.weight.numpy(), None)
    kept = darknet_pruner.kept({"stage3.down": 5})["stage3.down"]
    np.testing.assert_array_equal(kept, np.sort(np.argsort(values)[-5:]))


def test_nothing_chosen_is_the_whole_network(tiny: paddle.nn.Layer, tiny_pruner: Pruner) -> None:
    assert tiny_pruner.kept({}) == {}
    copied = tiny_pruner.pruned({})
    assert copied is not tiny
    for name, values in state(tiny).items():
        np.testing.assert_array_equal(state(copied)[name], values)


@pytest.mark.parametrize("keep", [{"conv9": 1}, {"head16": 1}, {"conv4": 0}, {"conv4": 14}, {"conv4": -1}])
def test_what_cannot_be_kept(tiny_pruner: Pruner, keep: Dict[str, int]) -> None:
    (name, count), *_ = keep.items()
    with pytest.raises(ConfigError, match=f"cannot keep {count} channels of '{name}'; there are conv1 4, .*conv4 13"):
        tiny_pruner.kept({"conv1": 2, **keep})


def test_no_such_criterion(tiny: paddle.nn.Layer) -> None:
    with pytest.raises(ConfigError, match="no criterion 'best'; choose one of: l1, fpgm, bn"):
        Pruner(tiny, "best")


def test_the_network_given_is_left_alone() -> None:
    network = narrow(seed=3)
    network.class_names = ("a", "b", "c")
    network.train()
    before = state(network)
    pruner = Pruner(network, "fpgm")
    pruned = pruner.pruned(pruner.kept({"conv3": 2, "conv5": 9}))
    assert all(layer.training for layer in network.sublayers(include_self=True))
    assert not any(layer.training for layer in pruned.sublayers(include_self=True))
    for name, values in state(network).items():
        np.testing.assert_array_equal(values, before[name])
    assert (pruned.params, pruned.class_names) == (network.params, ("a", "b", "c"))
