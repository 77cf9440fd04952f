"""Which channels belong together, and a network without some of them."""

from __future__ import annotations

import copy
import logging
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Tuple

import numpy as np

from ppsplit.errors import ConfigError
from ppsplit.models.assign import assign_tensors
from ppsplit.models.narrow import narrow_to
from ppsplit.paddle_first import paddle

TRACED_SIDE = 64  # pixels; which channels belong together does not depend on it
KERNEL = ".conv.weight"


@dataclass(frozen=True)
class Member:
    """Where the channels of a group lie in one tensor.

    Attributes:
        tensor: structural name, "conv2.conv.weight".
        axis: 0 where the channels are made, 1 where a convolution reads them.
        offset: of the first one along the axis; above 0 behind a concat.
    """

    tensor: str
    axis: int
    offset: int = 0


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that can only be dropped together, in every layer that makes or reads them.

    Attributes:
        name: structural path of the layer that makes them first, "conv5" or "stage3.down".
        channels: how many.
        members: every tensor with these channels.
    """

    name: str
    channels: int
    members: Tuple[Member, ...]

    @property
    def makers(self) -> List[str]:
        """The layers that make them; more than one where residual blocks add."""
        return [m.tensor[: -len(KERNEL)] for m in self.members if m.axis == 0 and m.tensor.endswith(KERNEL)]


class Pruner:
    """What of a network can be pruned, and how.

    Args:
        network: is left as it is.
        criterion: a key of `CRITERIA`.

    Attributes:
        groups: name to group, in the order of the network. A head's outputs are in none.

    Raises:
        ConfigError: no such criterion.
    """

    def __init__(self, network: paddle.nn.Layer, criterion: str) -> None:
        from ppsplit.prune.criteria import CRITERIA  # PaddleSlim takes seconds to import
        from ppsplit.prune.slim_operators import register_operators

        if criterion not in CRITERIA:
            raise ConfigError(f"there is no criterion {criterion!r}; choose one of: {', '.join(CRITERIA)}")
        register_operators()
        self.network = network
        evaluated = copy.deepcopy(network)  # PaddleSlim sets layers' modes as it traces
        evaluated.eval()
        with quiet():
            self._slim = CRITERIA[criterion](evaluated, [1, 3, TRACED_SIDE, TRACED_SIDE])
        self._names = {tensor.name: name for name, tensor in evaluated.named_parameters()}
        self.groups = {group.name: group for group in map(self._group, self._slim.collections)}

    def _group(self, collection: Any) -> ChannelGroup:
        members = tuple(
            Member(self._names[detail.name], detail.axis, sum(step["target_start"] for step in detail.transform))
            for detail in collection.all_pruning_details()
            if detail.name in self._names  # the others are activations
        )
        name = self._names[collection.master_name][: -len(KERNEL)]
        return ChannelGroup(name, int(collection.values[collection.master_name].shape[0]), members)

    def kept(self, keep: Mapping[str, int]) -> Dict[str, np.ndarray]:
        """The channels that stay.

        Args:
            keep: group to how many of its channels stay; those not named stay whole.

        Returns:
            group to int64 [kept], ascending, of the groups named.

        Raises:
            ConfigError: no such group, or a number that is not 1..channels.
        """
        chosen = {}
        for name, count in keep.items():
            if name not in self.groups or not 1 <= count <= self.groups[name].channels:
                known = ", ".join(f"{group.name} {group.channels}" for group in self.groups.values())
                raise ConfigError(f"cannot keep {count} channels of {name!r}; there are {known}")
            master = next(c for c in self._slim.collections if self._names[c.master_name] == name + KERNEL)
            mask = self._slim.cal_mask(1 - count / self.groups[name].channels, master)
            chosen[name] = np.flatnonzero(np.asarray(mask))
        return chosen

    def pruned(self, kept: Mapping[str, np.ndarray]) -> paddle.nn.Layer:
        """A network of the same kind with only these channels, and with the weights they had."""
        masks: Dict[Tuple[str, int], np.ndarray] = {}
        tensors = {name: tensor.numpy() for name, tensor in self.network.state_dict().items()}
        for name, indices in kept.items():
            group = self.groups[name]
            dropped = np.setdiff1d(np.arange(group.channels), indices)
            for member in group.members:
                whole = np.ones(tensors[member.tensor].shape[member.axis], bool)
                mask = masks.setdefault((member.tensor, member.axis), whole)
                mask[member.offset + dropped] = False
        for (tensor, axis), mask in masks.items():
            tensors[tensor] = np.compress(mask, tensors[tensor], axis)
        return like(self.network, tensors)


def like(network: paddle.nn.Layer, tensors: Dict[str, np.ndarray]) -> paddle.nn.Layer:
    """A network of the same kind as `network`, as wide as `tensors` are and with their values, for inference."""
    made = type(network)(network.params)
    made.class_names = network.class_names
    narrow_to(made, tensors)
    assign_tensors(made, tensors, "the pruned network")
    made.eval()
    return made


@contextmanager
def quiet() -> Iterator[None]:
    """PaddleSlim logs every tensor that it looks at; people want to see none of it."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
