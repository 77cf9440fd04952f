"""What newer opsets say otherwise, said as opset 15 does, which is the newest that X2Paddle knows.

Attributes that became inputs become attributes again, defaults are written out where X2Paddle takes another one for
granted, and operators that it does not know are spelled in those it does. What is not here goes through as it is:
whether it still means the same is told by the certificate.
"""

from __future__ import annotations

from typing import Any, Dict, List

import numpy as np
from onnx import helper

from ppsplit.errors import OnnxError
from ppsplit.importers.lowering import Lowering, Rewrite, Step, attribute_of, chain, value_of
from ppsplit.importers.resizing import resize

REDUCTIONS = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSum")
LOWEST = float(np.finfo(np.float32).min)


def lower(proto: Any) -> None:
    """Rewrite a ModelProto in place for X2Paddle. Raises OnnxError where an operator cannot be said otherwise."""
    Lowering(proto).run(_REWRITES)


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
    if len(node.input) > 2 and node.input[2]:  # X2Paddle looks for it among the attributes only
        value = float(model.constant(node.input[2], node).ravel()[0])
        node.attribute.append(helper.make_attribute("value", value))
    if len(node.input) > 3 and node.input[3]:
        rank = len(model.shapes[node.input[0]])
        axes = model.constant(node.input[3], node).ravel() % rank
        given = model.constant(node.input[1], node).reshape(2, -1)
        pads = np.zeros((2, rank), np.int64)
        pads[:, axes] = given
        node.input[1] = model.new_constant(pads.ravel())
    del node.input[2:]
    return [node]


def _pool(model: Lowering, node: Any) -> List[Any]:
    if attribute_of(node, "strides") is None:  # Paddle's own default is the kernel's size
        node.attribute.append(helper.make_attribute("strides", [1] * len(value_of(node, "kernel_shape", []))))
    return [node]


def _max_pool(model: Lowering, node: Any) -> List[Any]:
    """X2Paddle pads unequal sides with zeros, which are larger than what is below zero."""
    _pool(model, node)
    pads = list(value_of(node, "pads", []))
    half = len(pads) // 2
    if pads[:half] == pads[half:]:
        return [node]
    node.attribute.remove(attribute_of(node, "pads"))
    around = [0, 0, *pads[:half], 0, 0, *pads[half:]]
    padded = model.new_name()
    inputs = [node.input[0], model.new_constant(np.array(around, np.int64))]
    node.input[0] = padded
    return [helper.make_node("Pad", inputs, [padded], f"{node.name}/pad", mode="constant", value=LOWEST), node]


def _shape(model: Lowering, node: Any) -> List[Any]:
    """As a constant: pictures have one size here."""
    shape = model.shapes.get(node.input[0], [])
    if not shape or min(shape) < 1:
        raise OnnxError(
            f"operator 'Shape' ({node.name or node.output[0]!r}) tells a size that depends on what is in the picture, "
            "which cannot be taken; export the model with fixed sizes"
        )
    part = shape[value_of(node, "start", 0) : value_of(node, "end", None)]
    value = model.new_constant(np.array(part, np.int64))
    return [helper.make_node("Identity", [value], list(node.output), node.name)]


def _squeeze(model: Lowering, node: Any) -> List[Any]:
    """As a reshape: X2Paddle takes one axis at most."""
    shape = model.shapes.get(node.output[0], [])
    if not shape or min(shape) < 1:
        return [node]
    return [
        helper.make_node(
            "Reshape", [node.input[0], model.new_constant(np.array(shape, np.int64))], node.output, node.name
        )
    ]


def _scalar(model: Lowering, value: float) -> str:
    return model.new_constant(np.array([value], np.float32))


def _hard_swish(model: Lowering, node: Any) -> List[Any]:
    gate: Step = ("HardSigmoid", [node.input[0]], {"alpha": 1 / 6, "beta": 0.5})
    return chain(model, node, [gate, ("Mul", [node.input[0], 0], {})])


def _mish(model: Lowering, node: Any) -> List[Any]:
    x = node.input[0]
    return chain(model, node, [("Softplus", [x], {}), ("Tanh", [0], {}), ("Mul", [x, 1], {})])


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
    return chain(model, node, [*inner, *tail])


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
    return chain(model, node, steps)


_REWRITES: Dict[str, Rewrite] = {
    **dict.fromkeys(REDUCTIONS, _reduction),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    **dict.fromkeys(("Resize", "Upsample"), resize),
    **dict.fromkeys(("Squeeze", "Unsqueeze"), _squeeze),
    "Shape": _shape,
    "AveragePool": _pool,
    "MaxPool": _max_pool,
    "Split": _split,
    "Pad": _pad,
    "HardSwish": _hard_swish,
    "Mish": _mish,
    "Gelu": _gelu,
    "LayerNormalization": _layer_norm,
}
