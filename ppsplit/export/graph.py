"""A frozen program as a graph of operators and tensors, and the sets of tensors that divide it.

A cut is a set. The edge part is closed under predecessors; what crosses is every tensor that the edge has and
the cloud still needs, less what the cloud can work out from the rest. Nothing here knows a framework.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Collection, Dict, FrozenSet, Iterable, List, Sequence, Set, Tuple

from ppsplit.bundle import TensorSpec
from ppsplit.errors import CutError
from ppsplit.nearest import nearest

# What the cloud may compute a second time: cheap, and the same each time. Any other kind is not, known or unknown.
CHEAP_KINDS = frozenset(
    (
        *("abs", "clip", "elu", "exp", "gelu", "hard_sigmoid", "hard_swish", "leaky_relu", "log", "mish", "pow"),
        *(
            "prelu",
            "relu",
            "relu6",
            "scale",
            "sigmoid",
            "silu",
            "softmax",
            "softplus",
            "sqrt",
            "square",
            "swish",
            "tanh",
        ),
        *("elementwise_add", "elementwise_div", "elementwise_max", "elementwise_min", "elementwise_mul"),
        *("elementwise_pow", "elementwise_sub", "batch_norm", "group_norm", "instance_norm", "layer_norm"),
        *("assign", "cast", "concat", "expand_v2", "flatten_contiguous_range", "pad2d", "pad3d", "pixel_shuffle"),
        *("reshape2", "shape", "shuffle_channel", "slice", "split", "squeeze2", "stack", "strided_slice", "tile"),
        *("transpose2", "unsqueeze2", "unstack", "bilinear_interp_v2", "nearest_interp_v2", "pool2d"),
        *("reduce_max", "reduce_mean", "reduce_sum"),
    )
)


@dataclass(frozen=True)
class Operator:
    """One operator.

    Attributes:
        index: position in the program, which is a topological order.
        kind: the framework's name of the operator.
        inputs, outputs: names of the activations it reads and writes; parameters and constants are not among them.
        parameters: names of the parameters it reads.
        macs: multiply-accumulates for one image; 0 for elementwise, pooling and shape work.
    """

    index: int
    kind: str
    inputs: Tuple[str, ...]
    outputs: Tuple[str, ...]
    parameters: FrozenSet[str] = frozenset()
    macs: int = 0

    @property
    def is_cheap(self) -> bool:
        """Whether the cloud may compute it a second time at no cost that matters."""
        return self.kind in CHEAP_KINDS


@dataclass(frozen=True)
class Graph:
    """A program's activations.

    Attributes:
        inputs, outputs: names, in the program's order.
        operators: in topological order; every activation is written once.
        tensors: name to spec, of every activation.
        parameter_elements: name to number of elements, of every parameter.
    """

    inputs: Tuple[str, ...]
    outputs: Tuple[str, ...]
    operators: Tuple[Operator, ...]
    tensors: Dict[str, TensorSpec]
    parameter_elements: Dict[str, int]

    @property
    def producers(self) -> Dict[str, Operator]:
        """Activation name to the operator that writes it."""
        return {name: operator for operator in self.operators for name in operator.outputs}

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the whole program for one image."""
        return sum(operator.macs for operator in self.operators)

    def share_of(self, edge: Collection[Operator]) -> Tuple[float, float]:
        """The edge's share of MACs and of parameters, each 0..1."""
        parameters = {name for operator in edge for name in operator.parameters}
        elements = sum(self.parameter_elements[name] for name in parameters)
        total = sum(self.parameter_elements.values())
        return sum(operator.macs for operator in edge) / max(self.macs, 1), elements / max(total, 1)


def operators_for(graph: Graph, wanted: Iterable[str], given: Collection[str]) -> List[Operator]:
    """The operators that compute `wanted` from `given`, in order.

    Raises:
        CutError: one of them is no tensor of the program, or depends on an input that is not given.
    """
    producers = graph.producers
    waiting, needed = list(wanted), set()
    while waiting:
        name = waiting.pop()
        if name in given:
            continue
        if name not in producers:
            raise CutError(
                f"{name!r} cannot be computed from {sorted(given)[:8]}; `--list-cuts` prints the tensors of the program"
            )
        operator = producers[name]
        if operator.index not in needed:
            needed.add(operator.index)
            waiting.extend(operator.inputs)
    return [operator for operator in graph.operators if operator.index in needed]


def edge_part(graph: Graph, tensors: Iterable[str]) -> List[Operator]:
    """The operators that compute `tensors` from the inputs: closed under predecessors. Raises CutError."""
    return operators_for(graph, tensors, graph.inputs)


def live_tensors(graph: Graph, edge: Collection[Operator]) -> List[str]:
    """Every tensor the edge has (inputs included) that the cloud reads or must return, in graph order."""
    on_edge = {operator.index for operator in edge}
    read = {name for operator in graph.operators if operator.index not in on_edge for name in operator.inputs}
    needed = read | set(graph.outputs)
    held = list(graph.inputs) + [name for operator in edge for name in operator.outputs]
    return [name for name in held if name in needed]


def sent_tensors(graph: Graph, edge: Collection[Operator]) -> List[str]:
    """`live_tensors` less those that cheap operators derive from the ones that are sent anyway.

    Derivation runs forward only, so the set that remains is the one smallest set with that property.
    """
    live = live_tensors(graph, edge)
    producers = graph.producers
    sent = list(live)
    for name in reversed(live):
        others = set(sent) - {name}
        if name in producers and _derivable(name, others, producers):
            sent.remove(name)
    return sent


def _derivable(name: str, known: Set[str], producers: Dict[str, Operator]) -> bool:
    waiting, seen = [name], set()
    while waiting:
        current = waiting.pop()
        if current in known or current in seen:
            continue
        seen.add(current)
        operator = producers.get(current)
        if operator is None or not operator.is_cheap:
            return False
        waiting.extend(operator.inputs)
    return True


@dataclass(frozen=True)
class GraphCut:
    """A division of a graph.

    Attributes:
        name: as shown to people: a stage's name, else the sent tensors' names joined by "+".
        aliases: other names of the same cut.
        tensors: what is sent, in graph order.
        edge, cloud: the operators each half computes. One that is cheap may stand in both.
        edge_macs_share, edge_params_share: 0..1.
    """

    name: str
    aliases: Tuple[str, ...]
    tensors: Tuple[TensorSpec, ...]
    edge: Tuple[Operator, ...]
    cloud: Tuple[Operator, ...]
    edge_macs_share: float
    edge_params_share: float


def cut_after(graph: Graph, tensors: Sequence[str], stages: Dict[str, str]) -> GraphCut:
    """Divide the graph so that the edge computes `tensors` and all they need.

    Args:
        tensors: names of activations; the cut runs right after their operators.
        stages: stage name to the activation it returns, used to name the cut.

    Raises:
        CutError: no such tensor.
    """
    sent = sent_tensors(graph, edge_part(graph, tensors))
    edge = edge_part(graph, sent)  # what only served a tensor that is not sent is not computed
    macs_share, params_share = graph.share_of(edge)
    names = names_of(graph, sent, stages)
    return GraphCut(
        name=names[0],
        aliases=tuple(names[1:]),
        tensors=tuple(graph.tensors[name] for name in sent),
        edge=tuple(edge),
        cloud=tuple(operators_for(graph, graph.outputs, sent)),
        edge_macs_share=macs_share,
        edge_params_share=params_share,
    )


def names_of(graph: Graph, sent: Sequence[str], stages: Dict[str, str]) -> List[str]:
    """All names of the cut that sends `sent`, best first: "input", "output", stage names, then tensor names."""
    if list(sent) == list(graph.inputs):
        return ["input"]
    names = ["output"] if set(sent) == set(graph.outputs) else []
    for stage, tensor in stages.items():
        if sent_tensors(graph, edge_part(graph, [tensor])) == list(sent):
            names.append(stage)
    label = {tensor: stage for stage, tensor in reversed(list(stages.items()))}
    joined = "+".join(label.get(name, name) for name in sent)
    return names + ([joined] if joined not in names else [])


def resolve_cut(graph: Graph, name: str, stages: Dict[str, str]) -> GraphCut:
    """The cut a person names: "output", "input", a stage, a tensor, or several joined by "+".

    Raises:
        CutError: no such name; the nearest ones are listed.
    """
    if name == "output":
        return cut_after(graph, graph.outputs, stages)
    if name == "input":
        return cut_after(graph, graph.inputs, stages)
    return cut_after(graph, _named_tensors(graph, name, stages), stages)


def _named_tensors(graph: Graph, name: str, stages: Dict[str, str]) -> List[str]:
    """The tensors of a stage or tensor, or of several joined by "+" (which a tensor's own name may hold, too)."""
    if name in stages or name in graph.tensors:
        return [stages.get(name, name)]
    for position in [i for i, letter in enumerate(name) if letter == "+"]:
        first, rest = name[:position], name[position + 1 :]
        if first in stages or first in graph.tensors:
            return [stages.get(first, first), *_named_tensors(graph, rest, stages)]
    raise CutError(f"there is no cut {name!r}{nearest(name, [*stages, *graph.tensors])}; `--list-cuts` prints all")


def distinct_cuts(graph: Graph, stages: Dict[str, str]) -> List[GraphCut]:
    """Every distinct cut right after one operator, or after a prefix of the program, shallow first.

    Two cuts are the same when they send the same tensors.
    """
    found: Dict[Tuple[str, ...], GraphCut] = {}
    for position, operator in enumerate(graph.operators):
        prefix = live_tensors(graph, graph.operators[: position + 1])
        for tensors in (operator.outputs, prefix):
            used = [name for name in tensors if name in graph.tensors]
            if not used:
                continue
            sent = tuple(sent_tensors(graph, edge_part(graph, used)))
            if sent and sent != graph.inputs and sent not in found:
                found[sent] = cut_after(graph, used, stages)
    return sorted(found.values(), key=lambda cut: (cut.edge_macs_share, len(cut.edge)))
