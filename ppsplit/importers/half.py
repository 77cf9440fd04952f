"""float16 to float32: no CPU runtime of ours computes in half precision, and widening loses nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import AttributeProto, TensorProto, numpy_helper

HALF, SINGLE = TensorProto.FLOAT16, TensorProto.FLOAT


def widen(proto: Any) -> None:
    """Make every float16 of a ModelProto float32, in place: weights, constants, casts, inputs and outputs."""
    graph = proto.graph
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                _widen_tensor(attribute.t)
            elif node.op_type in ("Cast", "RandomNormal", "EyeLike") and attribute.name in ("to", "dtype"):
                attribute.i = SINGLE if attribute.i == HALF else attribute.i
    for value in [*graph.input, *graph.output, *graph.value_info]:
        if value.type.tensor_type.elem_type == HALF:
            value.type.tensor_type.elem_type = SINGLE


def has_half(proto: Any) -> bool:
    """Whether a weight, or the input, is float16."""
    values = [value.type.tensor_type.elem_type for value in proto.graph.input]
    return HALF in values or any(tensor.data_type == HALF for tensor in proto.graph.initializer)


def _widen_tensor(tensor: Any) -> None:
    if tensor.data_type == HALF:
        values = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
