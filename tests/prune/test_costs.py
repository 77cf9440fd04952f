"""What a network costs with fewer channels, against the frozen program of one that has them."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppsplit.errors import CutError
from ppsplit.export.freeze import trace
from ppsplit.export.graph import resolve_cut
from ppsplit.models.fold import fold_batch_norm
from ppsplit.paddle_first import paddle
from ppsplit.prune.channels import Pruner
from ppsplit.prune.costs import CostModel, Costs, executed_convs

from .conftest import drawn

HW = (64, 96)
TINY_CUTS = ("pool2", "conv5", "conv7", "join", "upsample", "output", "input")  # at conv7 conv5 crosses, too
DARKNET_CUTS = ("stage4.block3.reduce", "neck16.conv2")  # in a block the sum of those before crosses, too


def measured(network: paddle.nn.Layer, cuts: Sequence[str], folder: Path) -> "dict[str, Costs]":
    """Cut to the costs that the network's own frozen program has."""
    program, stages = trace(fold_batch_norm(network), HW, folder)
    graph = program.graph()
    found = {cut: resolve_cut(graph, cut, stages) for cut in cuts}
    parameters = sum(graph.parameter_elements.values())
    return {
        name: Costs(
            macs=graph.macs,
            edge_macs=sum(operator.macs for operator in cut.edge),
            parameters=parameters,
            payload_elements=sum(spec.elements_per_image for spec in cut.tensors),
        )
        for name, cut in found.items()
    }


@pytest.fixture(scope="module")
def tiny_costs(tiny: paddle.nn.Layer, tiny_pruner: Pruner) -> "dict[str, CostModel]":
    return {cut: CostModel(tiny, tiny_pruner.groups, HW, cut) for cut in TINY_CUTS}


def test_nothing_pruned(
    tiny: paddle.nn.Layer, tiny_costs: "dict[str, CostModel]", tmp_path: Path, tiny_pruner: Pruner
) -> None:
    whole = measured(tiny, TINY_CUTS, tmp_path)
    assert {cut: costs.of({}) for cut, costs in tiny_costs.items()} == whole
    assert whole["output"].edge_macs == whole["output"].macs > whole["conv7"].edge_macs > 0
    assert (whole["input"].edge_macs, whole["input"].payload_elements) == (0, 3 * 64 * 96)
    full = {name: group.channels for name, group in tiny_pruner.groups.items()}
    assert tiny_costs["conv7"].of(full) == whole["conv7"]


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=6, deadline=None)
def test_any_channels_of_tiny(
    tiny_pruner: Pruner,
    tiny_costs: "dict[str, CostModel]",
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    kept = drawn(tiny_pruner.groups, [name for name in tiny_pruner.groups if rng.random() < 0.6], rng)
    channels = {name: len(indices) for name, indices in kept.items()}
    actual = measured(tiny_pruner.pruned(kept), TINY_CUTS, tmp_path_factory.mktemp("pruned"))
    assert {cut: costs.of(channels) for cut, costs in tiny_costs.items()} == actual


def test_any_channels_of_darknet(darknet: paddle.nn.Layer, darknet_pruner: Pruner, tmp_path: Path) -> None:
    kept = drawn(darknet_pruner.groups, list(darknet_pruner.groups), np.random.default_rng(5))
    channels = {name: len(indices) for name, indices in kept.items()}
    actual = measured(darknet_pruner.pruned(kept), DARKNET_CUTS, tmp_path)
    for cut in DARKNET_CUTS:
        assert CostModel(darknet, darknet_pruner.groups, HW, cut).of(channels) == actual[cut], cut


def test_without_a_cut(tiny: paddle.nn.Layer, tiny_pruner: Pruner, tiny_costs: "dict[str, CostModel]") -> None:
    model = CostModel(tiny, tiny_pruner.groups, HW, None)
    with_cut = tiny_costs["conv7"].of({"conv4": 3})
    assert model.of({"conv4": 3}) == Costs(with_cut.macs, 0, with_cut.parameters, 0)
    assert (model.crossing(), model.on_edge()) == ([], [])


BACKBONE = [f"conv{i}" for i in range(1, 8)]


@pytest.mark.parametrize(
    ("cut", "crossing", "on_edge"),
    [
        ("input", [], []),
        ("pool2", ["conv2"], BACKBONE[:2]),
        ("conv5", ["conv5"], BACKBONE[:5]),
        ("conv7", ["conv5", "conv7"], BACKBONE),
        ("upsample", ["conv5", "lateral", "neck"], [*BACKBONE, "neck", "lateral"]),
        ("output", [], [*BACKBONE, "neck", "head32_conv", "lateral", "head16_conv"]),
    ],
)
def test_whose_channels_cross_and_who_is_on_the_edge(
    tiny_costs: "dict[str, CostModel]", cut: str, crossing: "list[str]", on_edge: "list[str]"
) -> None:
    assert tiny_costs[cut].crossing() == crossing
    assert tiny_costs[cut].on_edge() == on_edge


def test_a_group_crosses_exactly_where_it_saves_payload(
    tiny_costs: "dict[str, CostModel]", tiny_pruner: Pruner
) -> None:
    for model in tiny_costs.values():
        whole = model.of({})
        saves = [name for name in tiny_pruner.groups if model.of({name: 1}).payload_elements < whole.payload_elements]
        assert sorted(saves) == model.crossing()
        for name in tiny_pruner.groups:
            cheaper = model.of({name: 1})
            assert (cheaper.edge_macs < whole.edge_macs) == (name in model.on_edge())
            assert cheaper.macs < whole.macs and cheaper.parameters < whole.parameters


def test_no_such_cut(tiny: paddle.nn.Layer) -> None:
    with pytest.raises(CutError, match="there is no cut 'pool9'"):
        CostModel(tiny, {}, HW, "pool9")


def test_the_order_in_which_convolutions_run(tiny: paddle.nn.Layer) -> None:
    order = executed_convs(tiny)
    assert order == [*BACKBONE, "neck", "head32_conv", "head32", "lateral", "head16_conv", "head16"]


def test_asking_for_the_order_leaves_the_mode(tiny_pruner: Pruner) -> None:
    network = tiny_pruner.pruned({})
    network.train()
    network.conv3.eval()
    before = [layer.training for layer in network.sublayers(include_self=True)]
    executed_convs(network)
    assert [layer.training for layer in network.sublayers(include_self=True)] == before
