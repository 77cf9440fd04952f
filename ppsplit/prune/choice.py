"""How many channels stay after each step: as asked for, or as the budgets want it; checked before anything long."""

from __future__ import annotations

import math
from typing import Callable, List, Mapping, Optional, Sequence, Tuple

from ppsplit.errors import ConfigError
from ppsplit.paddle_first import paddle
from ppsplit.prune.allocate import Budget, Channels, Losses, by_budget, by_ratio
from ppsplit.prune.channels import ChannelGroup, Pruner
from ppsplit.prune.config import PruneConfig
from ppsplit.prune.costs import CostModel, Costs
from ppsplit.prune.sensitivity import fewest

OPTIONS = {"macs": "target_flops", "edge_macs": "target_flops", "payload_elements": "target_payload"}


class Choice:
    """What a config asks for, of a network.

    Args:
        config: all that was chosen.
        teacher: unpruned.
        input_hw: pixels.
        cut: where the edge ends.

    Attributes:
        whole: what the unpruned network costs.

    Raises:
        ConfigError: a ratio names no layer, nothing would be pruned, or a target cannot be met.
        CutError: there is no such cut.
    """

    def __init__(
        self, config: PruneConfig, teacher: paddle.nn.Layer, input_hw: Tuple[int, int], cut: Optional[str]
    ) -> None:
        self.config, self._input_hw, self._cut = config, input_hw, cut
        pruner = Pruner(teacher, config.criterion)
        costs = CostModel(teacher, pruner.groups, input_hw, cut)
        self.whole = costs.of({})
        if config.ratios:
            self._check_ratios(pruner.groups)
        else:
            self._check_targets(pruner.groups, costs)

    def channels(self, pruner: Pruner, number: int, measure: Callable[[Sequence[str]], Losses]) -> Channels:
        """How many channels of each group stay after step `number`; those not named stay whole.

        Args:
            pruner: of the network as the step before left it.
            measure: what the groups of these names lose; asked where there are no ratios.

        Raises:
            ConfigError: what the steps before left cannot be brought to this step's share.
        """
        if self.config.ratios:
            return by_ratio(self.config.named_ratios(), pruner.groups, self.config.divisor)
        costs = CostModel(pruner.network, pruner.groups, self._input_hw, self._cut)
        losses = measure(self._names(pruner.groups, costs))
        return by_budget(losses, pruner.groups, costs.of, self.budgets(number), self.config.divisor)

    def budgets(self, number: int) -> List[Budget]:
        """What may be left after step `number`: savings grow evenly with the steps."""
        done = number / self.config.steps
        shares = self.config.shares()
        return [Budget(cost, getattr(self.whole, cost) * (1 - (1 - share) * done)) for cost, share in shares.items()]

    def _names(self, groups: Mapping[str, ChannelGroup], costs: CostModel) -> List[str]:
        return list(groups) if self.config.target == "whole" else edge_groups(costs)

    def _check_ratios(self, groups: Mapping[str, ChannelGroup]) -> None:
        chosen = by_ratio(self.config.named_ratios(), groups, self.config.divisor)
        if all(count == groups[name].channels for name, count in chosen.items()):
            stay = ", ".join(f"{count} of {name}" for name, count in chosen.items())
            raise ConfigError(
                f"these ratios prune nothing: rounded to multiples of --divisor {self.config.divisor}, all channels "
                f"stay ({stay}); give larger shares or a smaller --divisor"
            )

    def _check_targets(self, groups: Mapping[str, ChannelGroup], costs: CostModel) -> None:
        if not any(budget.excess(self.whole) for budget in self.budgets(self.config.steps)):
            raise ConfigError(
                "nothing would be pruned: the targets ask for no saving, or nothing stands in front of the cut; give "
                "for instance --target-flops -40%"
            )
        smallest = {name: groups[name].channels for name in self._names(groups, costs)}
        for number in range(1, self.config.steps + 1):
            smallest = {name: fewest(count, self.config.divisor) for name, count in smallest.items()}
            found = costs.of(smallest)
            short = [budget.cost for budget in self.budgets(number) if budget.excess(found)]
            if short:
                raise ConfigError("; ".join(self._out_of_reach(cost, found, number) for cost in short) + self._advice())

    def _out_of_reach(self, cost: str, found: Costs, number: int) -> str:
        option = OPTIONS[cost]
        wanted = f"--{option.replace('_', '-')} {getattr(self.config, option).strip()}"
        best = (
            math.floor((1 - getattr(found, cost) / getattr(self.whole, cost)) * 1000) / 10
        )  # what is asked for is met
        if not best:
            return f"{wanted} cannot be met: nothing that counts there can be pruned, so -0% is the best"
        when = f" by step {number} of {self.config.steps}" if self.config.steps > 1 else ""
        return f"{wanted} cannot be met: with each layer at its smallest, -{best:g}% is the best{when}"

    def _advice(self) -> str:
        divisor = self.config.divisor
        ways = ["Ask for less", *([f"give a --divisor below {divisor}"] if divisor > 1 else []), "give more --steps"]
        return ". " + ", or ".join([*ways, *(["choose another --cut"] if self.config.target == "edge" else [])])


def edge_groups(costs: CostModel) -> List[str]:
    """Groups whose pruning makes the edge's half or what crosses cheaper."""
    return list(dict.fromkeys([*costs.on_edge(), *costs.crossing()]))
