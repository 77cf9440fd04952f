"""An ONNX model as X2Paddle wants it: sizes fixed, constants folded, opset 15, names that are harmless.

X2Paddle writes tensors' names and text attributes into Python code and runs it. So that a file cannot say what is
run, it gets to see names that are made here, and text attributes that the standard knows.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

import onnx
import onnxruntime
from onnx import AttributeProto

from ppsplit.errors import OnnxError
from ppsplit.importers.half import has_half, widen
from ppsplit.importers.lower import lower
from ppsplit.importers.onnx_file import STANDARD_DOMAINS, OnnxModel

SAFE_TEXT = re.compile(rb"[A-Za-z_0-9]*\Z")
QUIET = 4  # ONNX Runtime's level for fatal errors only


def prepare(model: OnnxModel) -> Tuple[Any, Dict[str, str]]:
    """The model for X2Paddle.

    Returns:
        the ModelProto, and each of its tensors' names to the name in the file (or the optimizer's, for new ones).

    Raises:
        OnnxError: the model does not fit the input's size, or has what cannot be taken.
    """
    proto = type(model.proto)()
    proto.CopyFrom(model.proto)
    _fix_input(proto, model)
    if has_half(proto):
        widen(proto)
    proto = _folded(proto, model.path)
    _take_constants_in(proto)
    lower(proto)
    _check_text(proto, model.path)
    return proto, _rename(proto)


def _fix_input(proto: Any, model: OnnxModel) -> None:
    """Write the input's size into the graph, and forget what it says of sizes that follow from it."""
    graph = proto.graph
    weights = {tensor.name for tensor in graph.initializer}
    for value in [value for value in graph.input if value.name in weights]:
        graph.input.remove(value)  # as before IR version 4; else it may be fed, and is no constant
    proto.ir_version = max(proto.ir_version, 4)
    dims = graph.input[0].type.tensor_type.shape.dim
    if model.channels_last:
        _take_channels_first(graph)
    for dim, size in zip(dims, model.input_shape):
        dim.dim_value = size
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    del graph.value_info[:]


def _take_channels_first(graph: Any) -> None:
    """Let the graph turn the picture round itself; its input keeps its name."""
    given = graph.input[0].name
    turned = f"{given}/channels_last"
    for node in graph.node:
        node.input[:] = [turned if name == given else name for name in node.input]
    turning = onnx.helper.make_node("Transpose", [given], [turned], turned, perm=[0, 2, 3, 1])
    graph.node.insert(0, turning)


def _folded(proto: Any, path: Path) -> Any:
    """The model after ONNX Runtime's basic optimisation, which stays within the standard's operators."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as scratch:
        written = Path(scratch) / "folded.onnx"
        options.optimized_model_filepath = str(written)
        try:
            onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises many kinds here, all its own
            reason = " ".join(str(error).split())[:300]
            size = "x".join(map(str, proto_input_shape(proto)))
            raise OnnxError(
                f"{path} cannot be loaded by ONNX Runtime with an input of {size} ({reason}); give another size with "
                "--input, or export the model again"
            ) from error
        return onnx.load(str(written))


def proto_input_shape(proto: Any) -> List[int]:
    """Sizes of the first input."""
    return [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim]


def _take_constants_in(proto: Any) -> None:
    """Constant operators become initializers, which X2Paddle reads whatever field their values are in."""
    kept = []
    for node in proto.graph.node:
        if node.domain not in STANDARD_DOMAINS:
            raise OnnxError(f"operator {node.op_type!r} ({node.name!r}) is of the domain {node.domain!r}")
        value = node.attribute[0] if node.op_type == "Constant" and node.attribute else None
        if value is not None and value.type == AttributeProto.TENSOR:
            tensor = proto.graph.initializer.add()
            tensor.CopyFrom(value.t)
            tensor.name = node.output[0]
        else:
            kept.append(node)
    del proto.graph.node[:]
    proto.graph.node.extend(kept)


def _check_text(proto: Any, path: Path) -> None:
    for node in proto.graph.node:
        for attribute in node.attribute:
            texts = [attribute.s, *attribute.strings]
            if not all(SAFE_TEXT.match(text) for text in texts):
                raise OnnxError(
                    f"{path}: operator {node.op_type!r} ({node.name!r}) has {attribute.name}={texts[0]!r}; a text that "
                    "is more than a word cannot be taken. Export the model without this operator"
                )


def _rename(proto: Any) -> Dict[str, str]:
    """Give every tensor and operator a name that is harmless in code, in place; new name to old."""
    graph = proto.graph
    names: Dict[str, str] = {"": ""}

    def renamed(name: str) -> str:
        return names.setdefault(name, f"t{len(names)}")

    for tensor in [*graph.input, *graph.initializer, *graph.output]:
        tensor.name = renamed(tensor.name)
    for index, node in enumerate(graph.node):
        node.name, node.doc_string = f"n{index}", ""
        for field in (node.input, node.output):
            field[:] = [renamed(name) for name in field]
    del graph.value_info[:]
    graph.name, graph.doc_string = "model", ""
    return {new: old for old, new in names.items() if new}
