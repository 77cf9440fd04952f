"""How many channels each group keeps: as asked for by name, or as costs least for what has to be saved."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np

from ppsplit.errors import ConfigError
from ppsplit.nearest import nearest
from ppsplit.prune.channels import ChannelGroup
from ppsplit.prune.costs import Costs

Channels = Dict[str, int]
Losses = Mapping[str, Sequence[Tuple[int, float]]]  # group to (channels kept, what that loses), in any order


class InfeasibleError(ConfigError):
    """No choice of channels meets what is asked for."""


@dataclass(frozen=True)
class Budget:
    """What has to be saved.

    Attributes:
        cost: a field of `Costs`.
        limit: what it may come to.
    """

    cost: str
    limit: float

    def excess(self, costs: Costs) -> float:
        """By how much the limit is exceeded; 0 where it is met."""
        return max(0.0, getattr(costs, self.cost) - self.limit)


def by_ratio(ratios: Mapping[str, float], groups: Mapping[str, ChannelGroup], divisor: int) -> Channels:
    """Channels for ratios asked for by structural path.

    Args:
        ratios: path or pattern ("conv7", "stage4.*") to the share of channels that goes, 0..1. It stands for every
            group of which it names a layer; where several do, the last one counts.
        groups: of the network.
        divisor: what stays is rounded to multiples of it.

    Raises:
        ConfigError: a path that names nothing, or a ratio out of range.
    """
    chosen: Channels = {}
    for pattern, ratio in ratios.items():
        matching = [g for g in groups.values() if any(fnmatchcase(name, pattern) for name in {g.name, *g.makers})]
        if not matching:
            raise ConfigError(f"no layer that can be pruned is called {pattern!r}{nearest(pattern, list(groups))}")
        if not 0 <= ratio < 1:
            raise ConfigError(f"the ratio of {pattern!r} must be in 0..1, below 1, not {ratio}")
        for group in matching:
            chosen[group.name] = rounded(group.channels * (1 - ratio), group.channels, divisor)
    return chosen


def rounded(channels: float, of: int, divisor: int) -> int:
    """`channels` as a multiple of `divisor`, at least one of it, at most `of`."""
    return min(of, max(divisor, round(channels / divisor) * divisor))


def by_budget(
    losses: Losses,
    groups: Mapping[str, ChannelGroup],
    costs_of: Callable[[Mapping[str, int]], Costs],
    budgets: Sequence[Budget],
    divisor: int,
) -> Channels:
    """Channels that meet all budgets for little loss: always the next step that loses least for what it saves.

    Args:
        losses: of each group that may be pruned, at some numbers of channels; interpolated in between, and no
            group goes below its smallest. Losses of different groups are taken to add up.
        costs_of: what a network with these channels costs.
        budgets: what has to be saved.
        divisor: channels go in steps of so many.

    Raises:
        ConfigError: the budgets cannot be met with these groups.
    """
    curves = {name: _rising(points, groups[name].channels) for name, points in losses.items()}
    chosen = {name: groups[name].channels for name in curves}
    first = {budget: max(1.0, budget.excess(costs_of({}))) for budget in budgets}
    while True:
        costs = costs_of(chosen)
        over = {budget: budget.excess(costs) for budget in budgets}
        if not any(over.values()):
            return {name: count for name, count in chosen.items() if count < groups[name].channels}
        best, least = "", np.inf
        for name in curves:
            fewer = _next(chosen[name], divisor)
            if fewer < min(curves[name][0]):
                continue
            after = costs_of({**chosen, name: fewer})
            saved = sum((over[budget] - budget.excess(after)) / first[budget] for budget in budgets)
            price = (_loss(curves[name], fewer) - _loss(curves[name], chosen[name])) / saved if saved > 0 else np.inf
            if price < least:
                best, least = name, price
        if not best:
            short = [f"{b.cost} {getattr(costs, b.cost):,} to {b.limit:,.0f}" for b in budgets if over[b]]
            raise InfeasibleError(
                f"pruning cannot bring {' and '.join(short)}; ask for less, or give a smaller --divisor"
            )
        chosen[best] = _next(chosen[best], divisor)


def _next(channels: int, divisor: int) -> int:
    """The next smaller multiple of `divisor`."""
    return (channels - 1) // divisor * divisor


def _rising(points: Sequence[Tuple[int, float]], channels: int) -> Tuple[List[int], List[float]]:
    """Kept channels ascending and their losses, made to fall as channels grow: a measurement's noise may not."""
    by_channels = {**dict(points), channels: 0.0}
    kept = sorted(by_channels)
    values = np.maximum.accumulate([max(0.0, by_channels[count]) for count in reversed(kept)])[::-1]
    return kept, [float(value) for value in values]


def _loss(curve: Tuple[List[int], List[float]], channels: int) -> float:
    return float(np.interp(channels, *curve))
