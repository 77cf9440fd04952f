"""What a network costs with fewer channels: MACs in all and on the edge, parameters, values that cross the cut.

The frozen program is asked once, batch normalisation folded; what other numbers of channels cost follows exactly,
because a convolution's MACs are a product of them.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, FrozenSet, List, Mapping, Optional, Tuple

from ppsplit.distill.walk import walked
from ppsplit.errors import ConfigError
from ppsplit.export.freeze import trace
from ppsplit.export.graph import Graph, Operator, resolve_cut
from ppsplit.models.blocks import ConvBN, HeadConv
from ppsplit.models.fold import fold_batch_norm
from ppsplit.paddle_first import paddle
from ppsplit.prune.channels import KERNEL, ChannelGroup

COST_NAMES = ("macs", "edge_macs", "parameters", "payload_elements")


@dataclass(frozen=True)
class Costs:
    """For one image, batch normalisation folded.

    Attributes:
        macs: multiply-accumulates of the whole network.
        edge_macs: of the half in front of the cut.
        parameters: of the whole network, biases included.
        payload_elements: values that cross the cut.
    """

    macs: int
    edge_macs: int
    parameters: int
    payload_elements: int


@dataclass(frozen=True)
class _Convolution:
    """One convolution: out x in / groups x kernel area x positions MACs."""

    name: str
    positions: int
    kernel_area: int
    out_channels: int
    in_channels: int
    on_edge: bool


@dataclass(frozen=True)
class _Sent:
    """A tensor that crosses: its positions and channels, and the layers whose outputs they are."""

    positions: int
    makers: FrozenSet[str]
    channels: int


class CostModel:
    """The costs of a network as a function of its channels.

    Args:
        network: to be pruned.
        groups: of its channels.
        input_hw: pixels.
        cut: where the edge ends; None for no cut, and then nothing is on the edge.

    Raises:
        CutError: there is no such cut.
    """

    def __init__(
        self,
        network: paddle.nn.Layer,
        groups: Mapping[str, ChannelGroup],
        input_hw: Tuple[int, int],
        cut: Optional[str],
    ) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            program, stages = trace(fold_batch_norm(network), input_hw, Path(scratch))
        graph = program.graph()
        found = resolve_cut(graph, cut, stages) if cut else None
        layers = executed_convs(network)
        convolutions = [operator for operator in graph.operators if operator.kind.endswith("conv2d")]
        if len(layers) != len(convolutions):
            raise ConfigError(f"{len(layers)} layers became {len(convolutions)} convolutions; this cannot be pruned")
        names = {operator.index: name for operator, name in zip(convolutions, layers)}
        edge = {operator.index for operator in found.edge} if found else set()
        self._layers = [_convolution(network, graph, operator, names, edge) for operator in convolutions]
        self._sent = [_sent(graph, spec.name, spec.shape, names) for spec in found.tensors] if found else []
        self._out, self._in = _memberships(groups)
        self._channels = {name: group.channels for name, group in groups.items()}

    def of(self, channels: Mapping[str, int]) -> Costs:
        """The costs with so many channels in each group; those not named stay whole."""
        lost = {name: self._channels[name] - count for name, count in channels.items()}
        macs = edge_macs = parameters = 0
        for layer in self._layers:
            out = layer.out_channels - sum(lost.get(group, 0) for group in self._out.get(layer.name, ()))
            inside = layer.in_channels - sum(lost.get(group, 0) for group in self._in.get(layer.name, ()))
            weights = out * inside * layer.kernel_area
            macs += weights * layer.positions
            edge_macs += weights * layer.positions * layer.on_edge
            parameters += weights + out
        return Costs(macs, edge_macs, parameters, self._payload(lost))

    def crossing(self) -> List[str]:
        """The groups whose channels cross the cut."""
        return sorted({group for sent in self._sent for maker in sent.makers for group in self._out.get(maker, ())})

    def on_edge(self) -> List[str]:
        """The groups that a layer in front of the cut makes."""
        edge = {layer.name for layer in self._layers if layer.on_edge}
        return [name for name in self._channels if any(name in self._out.get(layer, ()) for layer in edge)]

    def _payload(self, lost: Mapping[str, int]) -> int:
        total = 0
        for sent in self._sent:
            groups = {group for maker in sent.makers for group in self._out.get(maker, ())}
            channels = sent.channels - sum(lost.get(group, 0) for group in groups)
            total += channels * sent.positions
        return total


def executed_convs(network: paddle.nn.Layer) -> List[str]:
    """Structural names of the convolution layers, in the order in which they run."""
    names = [name for name, layer in network.named_sublayers() if isinstance(layer, (ConvBN, HeadConv))]
    return list(walked(network, names))


def _convolution(
    network: paddle.nn.Layer, graph: Graph, operator: Operator, names: Dict[int, str], edge: "set[int]"
) -> _Convolution:
    name = names[operator.index]
    out, inside, *kernel = dict(network.named_parameters())[name + KERNEL].shape
    positions = operator.macs // (out * inside * kernel[0] * kernel[1])
    return _Convolution(name, positions, kernel[0] * kernel[1], out, inside, operator.index in edge)


def _sent(graph: Graph, tensor: str, shape: Tuple[int, ...], names: Dict[int, str]) -> _Sent:
    """Which layers' outputs a sent tensor holds: back through what leaves channels alone."""
    producers, waiting, makers = graph.producers, [tensor], set()
    while waiting:
        operator = producers.get(waiting.pop())
        if operator is not None and operator.index in names:
            makers.add(names[operator.index])
        elif operator is not None:
            waiting.extend(operator.inputs)
    positions = 1
    for size in shape[2:]:
        positions *= size
    return _Sent(positions, frozenset(makers), shape[1])


def _memberships(groups: Mapping[str, ChannelGroup]) -> Tuple[Dict[str, List[str]], Dict[str, List[str]]]:
    """Layer to the groups that are its output channels, and to those among its input channels."""
    out: Dict[str, List[str]] = {}
    inside: Dict[str, List[str]] = {}
    for name, group in groups.items():
        for member in group.members:
            if member.tensor.endswith(KERNEL):
                (out if member.axis == 0 else inside).setdefault(member.tensor[: -len(KERNEL)], []).append(name)
    return out, inside
