"""What of a program's activations is in memory at each operator.

A buffer is a tensor that has to be kept; an elementwise operator that is the only reader of its input writes over
it, as every runtime does, so a convolution, its bias and its activation function are one buffer. Accumulators and
the workspace of a kernel are not counted: they are the runtime's, and there is no formula for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Tuple

from ppsplit.export.graph import Graph

IN_PLACE_KINDS = frozenset(
    (
        *("batch_norm", "elementwise_add", "elementwise_div", "elementwise_mul", "elementwise_sub", "scale"),
        *("elu", "hard_sigmoid", "hard_swish", "leaky_relu", "mish", "relu", "relu6", "sigmoid", "silu", "swish"),
        *("clip", "gelu", "prelu", "softplus", "tanh", "reshape2", "flatten_contiguous_range", "squeeze2"),
    )
)


@dataclass(frozen=True)
class Buffer:
    """One activation that is kept.

    Attributes:
        name: of the last tensor written into it, which is the one that others read.
        elements: for one image.
        steps: positions in `graph.operators` during which it is alive: from the operator that first writes it to
            the last that reads it, both included.
        is_output: it is handed over, and so kept to the end.
    """

    name: str
    elements: int
    steps: Tuple[int, ...]
    is_output: bool


def buffers(graph: Graph) -> List[Buffer]:
    """The buffers of a program for one image, in the order in which they are first written."""
    readers: Dict[str, List[int]] = {}
    for position, operator in enumerate(graph.operators):
        for name in operator.inputs:
            readers.setdefault(name, []).append(position)
    born: Dict[str, int] = dict.fromkeys(graph.inputs, 0)
    for position, operator in enumerate(graph.operators):
        over = _written_over(graph, position, readers)
        start = born.pop(over) if over else position
        born.update(dict.fromkeys(operator.outputs, start))
    last = len(graph.operators) - 1
    found = []
    for name, start in born.items():
        is_output = name in graph.outputs
        if not is_output and name not in readers:
            continue  # a reshape's second output, which only training reads
        end = last if is_output else max(readers[name])
        elements = graph.tensors[name].elements_per_image
        found.append(Buffer(name, elements, tuple(range(start, end + 1)), is_output))
    return sorted(found, key=lambda buffer: buffer.steps[0])


def _written_over(graph: Graph, position: int, readers: Dict[str, List[int]]) -> str:
    """The input whose buffer the operator's output takes, "" where it needs one of its own."""
    operator = graph.operators[position]
    if operator.kind not in IN_PLACE_KINDS or not operator.inputs:
        return ""
    source = operator.inputs[0]
    size = graph.tensors[source].elements_per_image
    free = readers[source] == [position] and source not in (*graph.outputs, *graph.inputs)
    return source if free and graph.tensors[operator.outputs[0]].elements_per_image == size else ""
