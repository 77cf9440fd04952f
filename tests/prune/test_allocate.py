"""How many channels stay: ratios by name, and budgets against every possibility."""

from __future__ import annotations

import itertools
from typing import Dict, List, Mapping, Sequence, Tuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppsplit.errors import ConfigError
from ppsplit.paddle_first import paddle
from ppsplit.prune.allocate import Budget, by_budget, by_ratio, rounded
from ppsplit.prune.channels import ChannelGroup, Pruner
from ppsplit.prune.costs import CostModel, Costs


def groups_of(channels: Mapping[str, int]) -> Dict[str, ChannelGroup]:
    return {name: ChannelGroup(name, count, ()) for name, count in channels.items()}


def costs_for(channels: Mapping[str, int], macs_each: Mapping[str, int]):  # type: ignore[no-untyped-def]
    """Each channel costs so many MACs."""

    def costs_of(chosen: Mapping[str, int]) -> Costs:
        counts = {**channels, **chosen}
        return Costs(sum(counts[name] * macs_each[name] for name in counts), 0, 0, 0)

    return costs_of


@given(st.floats(0, 500), st.integers(1, 300), st.integers(1, 40))
def test_rounding(channels: float, of: int, divisor: int) -> None:
    found = rounded(channels, of, divisor)
    assert 1 <= found <= of and (found % divisor == 0 or found == of)
    if divisor <= found < of:
        assert abs(found - channels) <= divisor / 2 or (found == divisor and channels < divisor)


def test_ratios_of_tiny(tiny_pruner: Pruner) -> None:
    groups = tiny_pruner.groups  # conv4 13, conv5 26, conv6 51, conv7 102
    assert by_ratio({}, groups, 4) == {}
    assert by_ratio({"conv7": 0.5}, groups, 8) == {"conv7": 48}
    assert by_ratio({"conv7": 0.5, "conv4": 0.0}, groups, 1) == {"conv7": 51, "conv4": 13}
    assert by_ratio({"conv[67]": 0.5, "conv7": 0.75}, groups, 8) == {"conv6": 24, "conv7": 24}  # the last one counts
    assert by_ratio({"conv4": 0.99}, groups, 8) == {"conv4": 8}
    assert set(by_ratio({"*": 0.5}, groups, 8)) == set(groups)


def test_ratios_of_a_residual_group_by_any_of_its_layers(darknet_pruner: Pruner) -> None:
    groups = darknet_pruner.groups
    for pattern in ("stage3.down", "stage3.block5.expand"):
        assert by_ratio({pattern: 0.5}, groups, 2) == {"stage3.down": 6}
    of_stage = by_ratio({"stage3.*": 0.5}, groups, 2)
    assert set(of_stage) == {"stage3.down", *(f"stage3.block{i}.reduce" for i in range(1, 9))}


@pytest.mark.parametrize(
    ("ratios", "says"),
    [
        ({"conv77": 0.5}, "no layer that can be pruned is called 'conv77'; did you mean conv7?"),
        ({"head16": 0.5}, "is called 'head16'; did you mean head16_conv?"),
        ({"conv7": 1.0}, "the ratio of 'conv7' must be in 0..1, below 1, not 1.0"),
        ({"conv7": -0.1}, "below 1, not -0.1"),
        ({"conv7": float("nan")}, "below 1, not nan"),
    ],
)
def test_ratios_that_cannot_be(tiny_pruner: Pruner, ratios: Dict[str, float], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        by_ratio(ratios, tiny_pruner.groups, 8)
    assert says in str(caught.value)


Curves = Dict[str, List[Tuple[int, float]]]


def cheapest(curves: Curves, channels: Mapping[str, int], costs_of, limit: float) -> float:  # type: ignore[no-untyped-def]
    """The least loss of all choices that meet the limit."""
    names = list(curves)
    full = {name: [*curves[name], (channels[name], 0.0)] for name in names}
    choices = itertools.product(*(full[name] for name in names))
    return min(
        sum(loss for _, loss in choice)
        for choice in choices
        if costs_of({name: kept for name, (kept, _) in zip(names, choice)}).macs <= limit
    )


def convex(rng: np.random.Generator, steps: int, divisor: int) -> List[Tuple[int, float]]:
    """Losses that grow faster and faster, measured at every multiple but the whole."""
    losses = np.cumsum(np.sort(rng.random(steps - 1)))
    return [((steps - 1 - i) * divisor, float(loss)) for i, loss in enumerate(losses)]


def lost(curves: Curves, chosen: Mapping[str, int]) -> float:
    return sum(dict(curves[name])[kept] for name, kept in chosen.items())


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 3), divisor=st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_the_best_choice_where_steps_cost_alike_and_losses_are_convex(seed: int, count: int, divisor: int) -> None:
    rng = np.random.default_rng(seed)
    curves = {f"g{i}": convex(rng, int(rng.integers(2, 6)), divisor) for i in range(count)}
    channels = {name: (len(points) + 1) * divisor for name, points in curves.items()}
    costs_of = costs_for(channels, dict.fromkeys(channels, 10))
    least = costs_of(dict.fromkeys(channels, divisor)).macs
    limit = float(rng.uniform(least, costs_of({}).macs))
    chosen = by_budget(curves, groups_of(channels), costs_of, [Budget("macs", limit)], divisor)
    assert costs_of(chosen).macs <= limit
    assert lost(curves, chosen) == pytest.approx(cheapest(curves, channels, costs_of, limit))


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_never_far_from_the_best_choice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    curves = {f"g{i}": convex(rng, int(rng.integers(3, 7)), 4) for i in range(3)}
    channels = {name: (len(points) + 1) * 4 for name, points in curves.items()}
    costs_of = costs_for(channels, {name: int(rng.integers(1, 4)) for name in channels})
    limit = float(rng.uniform(costs_of(dict.fromkeys(channels, 4)).macs, costs_of({}).macs))
    chosen = by_budget(curves, groups_of(channels), costs_of, [Budget("macs", limit)], 4)
    assert costs_of(chosen).macs <= limit
    # greedy: at most what one step more would have cost, beside the usual 1 + ln of covering problems
    assert lost(curves, chosen) <= 2 * cheapest(curves, channels, costs_of, limit) + 1


def test_never_below_what_was_measured() -> None:
    groups, costs_of = groups_of({"a": 16, "b": 16}), costs_for({"a": 16, "b": 16}, {"a": 1, "b": 1})
    losses: Curves = {"a": [(12, 0.0), (8, 0.0)], "b": [(4, 100.0)]}  # b is dear, but a ends at 8
    assert by_budget(losses, groups, costs_of, [Budget("macs", 20)], 4) == {"a": 8, "b": 12}
    assert by_budget(losses, groups, costs_of, [Budget("macs", 12)], 4) == {"a": 8, "b": 4}
    with pytest.raises(ConfigError, match="cannot bring macs 12 to 11; ask for less, or give a smaller --divisor"):
        by_budget(losses, groups, costs_of, [Budget("macs", 11)], 4)


def test_met_already_and_nothing_to_choose_from() -> None:
    costs_of = costs_for({"a": 16}, {"a": 1})
    assert by_budget({"a": [(8, 1.0)]}, groups_of({"a": 16}), costs_of, [Budget("macs", 16)], 4) == {}
    assert by_budget({}, groups_of({"a": 16}), costs_of, [], 4) == {}
    with pytest.raises(ConfigError, match="cannot bring macs 16 to 15"):
        by_budget({}, groups_of({"a": 16}), costs_of, [Budget("macs", 15)], 4)


@pytest.mark.parametrize(
    ("noisy", "kept"),
    [
        ([(12, 5.0), (8, 1.0), (4, 2.0)], {"b": 8}),  # a at 8 is no better than a at 12: 5 for the first four
        ([(12, -3.0), (8, 0.5), (4, 9.0)], {"a": 8}),  # nothing is won by losing: the first four are free, not -3
    ],
)
def test_noise_does_not_reward_pruning(noisy: Sequence[Tuple[int, float]], kept: Dict[str, int]) -> None:
    groups, costs_of = groups_of({"a": 16, "b": 16}), costs_for({"a": 16, "b": 16}, {"a": 1, "b": 1})
    losses = {"a": list(noisy), "b": [(12, 1.5), (8, 3.0), (4, 4.5)]}
    assert by_budget(losses, groups, costs_of, [Budget("macs", 24)], 4) == kept


def test_channels_that_are_no_multiple() -> None:
    groups, costs_of = groups_of({"a": 13}), costs_for({"a": 13}, {"a": 1})
    assert by_budget({"a": [(4, 1.0)]}, groups, costs_of, [Budget("macs", 12)], 4) == {"a": 12}
    assert by_budget({"a": [(4, 1.0)]}, groups, costs_of, [Budget("macs", 11)], 4) == {"a": 8}


@given(seed=st.integers(0, 2**32 - 1), shares=st.tuples(st.floats(0.4, 1), st.floats(0.4, 1)))
@settings(max_examples=25, deadline=None)
def test_several_budgets_of_a_network(
    tiny: paddle.nn.Layer, tiny_pruner: Pruner, edge_costs: CostModel, seed: int, shares: Tuple[float, float]
) -> None:
    rng, groups = np.random.default_rng(seed), tiny_pruner.groups
    names = [f"conv{i}" for i in range(1, 8)]
    losses = {n: [(rounded(groups[n].channels * s, 999, 2), rng.random()) for s in (0.3, 0.5, 0.8)] for n in names}
    whole = edge_costs.of({})
    budgets = [Budget(c, getattr(whole, c) * s) for c, s in zip(("edge_macs", "payload_elements"), shares)]
    chosen = by_budget(losses, groups, edge_costs.of, budgets, 2)
    assert not any(budget.excess(edge_costs.of(chosen)) for budget in budgets)
    for name, kept in chosen.items():
        assert min(count for count, _ in losses[name]) <= kept < groups[name].channels and kept % 2 == 0


@pytest.fixture(scope="module")
def edge_costs(tiny: paddle.nn.Layer, tiny_pruner: Pruner) -> CostModel:
    return CostModel(tiny, tiny_pruner.groups, (64, 64), "conv7")  # conv5 and conv7 cross
