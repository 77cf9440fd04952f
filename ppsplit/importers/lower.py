"""What newer opsets say otherwise, said as opset 15 does, which is the newest that X2Paddle knows.

Attributes that became inputs become attributes again, defaults are written out where X2Paddle takes another one for
granted, and operators that it does not know are spelled in those it does. What is not here goes through as it is:
whether it still means the same is told by the certificate.
"""

from __future__ import annotations

import itertools
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ppsplit.errors import OnnxError

NEWEST_OPSET = 15
REDUCTIONS = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2")
# Attributes with the only value that means what the operator meant before it had them.
ONLY_VALUE: Dict[str, Dict[str, Any]] = {
    "Resize": {"antialias": 0, "keep_aspect_ratio_policy": b"stretch"},
    "AveragePool": {"dilations": 1},
    "MaxPool": {"dilations": 1, "storage_order": 0},
    "Cast": {"saturate": 1},
    "Reshape": {"allowzero": 0},
    "Shape": {"start": 0},
}


Step = Tuple[str, List[Union[str, int]], Dict[str, Any]]


class Lowering:
    """One model's way down. Use `lower`."""

    def __init__(self, proto: Any) -> None:
        self.proto = proto
        self.opset = next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
        self.constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        self.shapes = _known_shapes(proto)
        self._count = itertools.count()

    def run(self) -> None:
        """Rewrite the graph's operators in place, in order."""
        nodes: List[Any] = []
        for node in self.proto.graph.node:
            rewritten = _REWRITES[node.op_type](self, node) if node.op_type in _REWRITES else [node]
            for new in rewritten:
                self._drop_defaults(new)
            nodes += rewritten
        del self.proto.graph.node[:]
        self.proto.graph.node.extend(nodes)
        del self.proto.opset_import[:]
        self.proto.opset_import.append(helper.make_opsetid("", min(self.opset, NEWEST_OPSET)))

    def constant(self, name: str, node: Any) -> np.ndarray:
        """The value of an input that has to be a constant. Raises OnnxError."""
        if name not in self.constants:
            raise OnnxError(
                f"operator {node.op_type!r} ({node.name or node.output[0]!r}) takes {name!r}, which is computed from "
                "the picture; a constant was expected. Export the model with fixed sizes"
            )
        return numpy_helper.to_array(self.constants[name])

    def new_constant(self, values: np.ndarray) -> str:
        """The name of a new initializer."""
        tensor = numpy_helper.from_array(values, self.new_name())
        self.proto.graph.initializer.append(tensor)
        self.constants[tensor.name] = tensor
        return str(tensor.name)

    def new_name(self) -> str:
        """A tensor's name that nothing has yet."""
        return f"ppsplit_lowered_{next(self._count)}"

    def _drop_defaults(self, node: Any) -> None:
        for name, only in ONLY_VALUE.get(node.op_type, {}).items():
            attribute = attribute_of(node, name)
            if attribute is None:
                continue
            value = helper.get_attribute_value(attribute)
            if any(part != only for part in value) if isinstance(value, list) else value != only:
                raise OnnxError(
                    f"operator {node.op_type!r} ({node.name or node.output[0]!r}) has {name}="
                    f"{value}, which cannot be taken; only {only} can"
                )
            node.attribute.remove(attribute)


def lower(proto: Any) -> None:
    """Rewrite a ModelProto in place for X2Paddle. Raises OnnxError where an operator cannot be said otherwise."""
    Lowering(proto).run()


def attribute_of(node: Any, name: str) -> Optional[Any]:
    """A node's attribute, None where it has none of that name."""
    return next((attribute for attribute in node.attribute if attribute.name == name), None)


def value_of(node: Any, name: str, default: Any) -> Any:
    """An attribute's value, or the default."""
    attribute = attribute_of(node, name)
    return default if attribute is None else helper.get_attribute_value(attribute)


def _known_shapes(proto: Any) -> Dict[str, List[int]]:
    inferred = onnx.shape_inference.infer_shapes(proto)
    values = [*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output]
    return {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}


def _reduction(model: Lowering, node: Any) -> List[Any]:
    if len(node.input) > 1 and node.input[1]:
        axes = [int(axis) for axis in model.constant(node.input[1], node).ravel()]
        node.attribute.append(helper.make_attribute("axes", axes))
    elif value_of(node, "noop_with_empty_axes", 0):
        return [helper.make_node("Identity", [node.input[0]], list(node.output), node.name)]
    del node.input[1:]
    noop = attribute_of(node, "noop_with_empty_axes")
    if noop is not None:
        node.attribute.remove(noop)
    if attribute_of(node, "keepdims") is None:  # X2Paddle looks for it
        node.attribute.append(helper.make_attribute("keepdims", 1))
    return [node]


def _softmax(model: Lowering, node: Any) -> List[Any]:
    rank = len(model.shapes.get(node.input[0], []))
    axis = value_of(node, "axis", -1 if model.opset >= 13 else 1)
    if model.opset < 13 and axis % max(rank, 1) != rank - 1:  # it flattened all axes from this one on
        raise OnnxError(
            f"operator {node.op_type!r} ({node.name or node.output[0]!r}) normalises over several axes, as before "
            "opset 13; export the model with opset 13 to 15"
        )
    return [helper.make_node(node.op_type, list(node.input), list(node.output), node.name, axis=axis)]


def _split(model: Lowering, node: Any) -> List[Any]:
    count = attribute_of(node, "num_outputs")
    if count is None:
        return [node]
    node.attribute.remove(count)
    size = model.shapes.get(node.input[0], [0])[value_of(node, "axis", 0)]
    part = -(-size // count.i)
    sizes = [part] * (count.i - 1) + [size - part * (count.i - 1)]
    if sizes[-1] < 1:
        raise OnnxError(f"operator 'Split' ({node.name!r}) splits {size} into {count.i} parts; give the sizes")
    del node.input[1:]
    node.input.append(model.new_constant(np.array(sizes, np.int64)))
    return [node]


def _pad(model: Lowering, node: Any) -> List[Any]:
    if len(node.input) < 4 or not node.input[3]:
        return [node]
    rank = len(model.shapes[node.input[0]])
    axes = model.constant(node.input[3], node).ravel() % rank
    given = model.constant(node.input[1], node).reshape(2, -1)
    pads = np.zeros((2, rank), np.int64)
    pads[:, axes] = given
    node.input[1] = model.new_constant(pads.ravel())
    del node.input[3:]
    return [node]


def _pool(model: Lowering, node: Any) -> List[Any]:
    if attribute_of(node, "strides") is None:  # Paddle's own default is the kernel's size
        node.attribute.append(helper.make_attribute("strides", [1] * len(value_of(node, "kernel_shape", []))))
    return [node]


def _chain(model: Lowering, node: Any, steps: Sequence[Step]) -> List[Any]:
    """Operators from steps (kind, inputs, attributes); an input that is an int is that step's output."""
    names = [model.new_name() for _ in steps[:-1]] + [node.output[0]]
    made = []
    for name, (kind, inputs, attributes) in zip(names, steps):
        resolved = [names[given] if isinstance(given, int) else given for given in inputs]
        made.append(helper.make_node(kind, resolved, [name], name=f"{node.name or node.output[0]}/{kind}"))
        made[-1].attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    return made


def _scalar(model: Lowering, value: float) -> str:
    return model.new_constant(np.array([value], np.float32))


def _hard_swish(model: Lowering, node: Any) -> List[Any]:
    gate: Step = ("HardSigmoid", [node.input[0]], {"alpha": 1 / 6, "beta": 0.5})
    return _chain(model, node, [gate, ("Mul", [node.input[0], 0], {})])


def _mish(model: Lowering, node: Any) -> List[Any]:
    x = node.input[0]
    return _chain(model, node, [("Softplus", [x], {}), ("Tanh", [0], {}), ("Mul", [x, 1], {})])


def _gelu(model: Lowering, node: Any) -> List[Any]:
    x, half, one = node.input[0], _scalar(model, 0.5), _scalar(model, 1.0)
    if value_of(node, "approximate", b"none") == b"tanh":
        cubic, root = _scalar(model, 0.044715), _scalar(model, float(np.sqrt(2 / np.pi)))
        inner: List[Step] = [("Mul", [x, x], {}), ("Mul", [0, x], {}), ("Mul", [1, cubic], {}), ("Add", [x, 2], {})]
        inner += [("Mul", [3, root], {}), ("Tanh", [4], {})]
    else:
        inner = [("Mul", [x, _scalar(model, float(np.sqrt(0.5)))], {}), ("Erf", [0], {})]
    last = len(inner) - 1
    tail: List[Step] = [("Add", [last, one], {}), ("Mul", [x, last + 1], {}), ("Mul", [last + 2, half], {})]
    return _chain(model, node, [*inner, *tail])


def _layer_norm(model: Lowering, node: Any) -> List[Any]:
    rank = len(model.shapes.get(node.input[0], []))
    if not rank or len([name for name in node.output if name]) > 1:
        raise OnnxError(f"operator 'LayerNormalization' ({node.name!r}) has no known rank, or returns its statistics")
    axes = list(range(value_of(node, "axis", -1) % rank, rank))
    mean: Dict[str, Any] = {"axes": axes, "keepdims": 1}
    epsilon = _scalar(model, value_of(node, "epsilon", 1e-5))
    x = node.input[0]
    steps: List[Step] = [("ReduceMean", [x], mean), ("Sub", [x, 0], {}), ("Mul", [1, 1], {}), ("ReduceMean", [2], mean)]
    steps += [("Add", [3, epsilon], {}), ("Sqrt", [4], {}), ("Div", [1, 5], {}), ("Mul", [6, node.input[1]], {})]
    if len(node.input) > 2 and node.input[2]:
        steps.append(("Add", [7, node.input[2]], {}))
    return _chain(model, node, steps)


Rewrite = Callable[[Lowering, Any], List[Any]]
_REWRITES: Dict[str, Rewrite] = {
    **dict.fromkeys(REDUCTIONS, _reduction),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    **dict.fromkeys(("AveragePool", "MaxPool"), _pool),
    "Split": _split,
    "Pad": _pad,
    "HardSwish": _hard_swish,
    "Mish": _mish,
    "Gelu": _gelu,
    "LayerNormalization": _layer_norm,
}
