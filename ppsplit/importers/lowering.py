"""One ONNX model on its way down to an older opset: its constants, its shapes, and how operators are rewritten."""

from __future__ import annotations

import itertools
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ppsplit.errors import OnnxError

NEWEST_OPSET = 15
# Attributes with the only value that means what the operator meant before it had them.
ONLY_VALUE: Dict[str, Dict[str, Any]] = {
    "Resize": {"antialias": 0, "keep_aspect_ratio_policy": b"stretch"},
    "AveragePool": {"dilations": 1},
    "MaxPool": {"dilations": 1, "storage_order": 0},
    "Cast": {"saturate": 1},
    "Reshape": {"allowzero": 0},
}
Step = Tuple[str, List[Union[str, int]], Dict[str, Any]]
Rewrite = Callable[["Lowering", Any], List[Any]]


class Lowering:
    """One model's way down. Use `lower.lower`."""

    def __init__(self, proto: Any) -> None:
        self.proto = proto
        self.opset = next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
        self.constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        self.shapes = _known_shapes(proto)
        self._count = itertools.count()

    def run(self, rewrites: Mapping[str, Rewrite]) -> None:
        """Rewrite the graph's operators in place, in order.

        Args:
            rewrites: operator to what makes others of one.
        """
        nodes: List[Any] = []
        for node in self.proto.graph.node:
            self._drop_defaults(node)
            nodes += rewrites[node.op_type](self, node) if node.op_type in rewrites else [node]
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


def chain(model: Lowering, node: Any, steps: Sequence[Step]) -> List[Any]:
    """Operators from steps (kind, inputs, attributes); an input that is an int is that step's output."""
    names = [model.new_name() for _ in steps[:-1]] + [node.output[0]]
    made = []
    for index, (name, (kind, inputs, attributes)) in enumerate(zip(names, steps)):
        resolved = [names[given] if isinstance(given, int) else given for given in inputs]
        made.append(helper.make_node(kind, resolved, [name], name=f"{node.name or node.output[0]}/{kind}.{index}"))
        made[-1].attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    return made
