"""Reading an ONNX file: everything that could be wrong with it is told here, before any work begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from ppsplit.errors import OnnxError

STANDARD_DOMAINS = ("", "ai.onnx")
OLDEST_OPSET = 7
COLOURS = 3
FLOATS = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}
STEPS = ("strides", "kernel_shape", "dilations")
CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")


@dataclass(frozen=True)
class OnnxModel:
    """A model whose input is one picture.

    Attributes:
        path: the file.
        proto: the onnx ModelProto, its external data loaded.
        input_name: of the picture.
        input_shape: 1, 3, height, width.
        is_half: the picture is float16, as the weights then are.
        channels_last: the file takes [batch, height, width, 3], as TensorFlow's do.
    """

    path: Path
    proto: Any
    input_name: str
    input_shape: Tuple[int, int, int, int]
    is_half: bool
    channels_last: bool = False

    @property
    def output_names(self) -> List[str]:
        """In the file's order."""
        return [output.name for output in self.proto.graph.output]

    def laid_out(self, sample: np.ndarray) -> np.ndarray:
        """A network input [batch, 3, height, width] with its axes as the file has them."""
        return np.ascontiguousarray(sample.transpose(0, 2, 3, 1)) if self.channels_last else sample


def read_onnx(path: Path, input_shape: Optional[Sequence[int]] = None) -> OnnxModel:
    """Read and check an ONNX file.

    Args:
        path: the file. Weights that it keeps in files of their own lie beside it.
        input_shape: the size of its input, with its axes as the file has them; needed where the file leaves one open.
            An open batch alone becomes 1.

    Raises:
        OnnxError: no ONNX file, incomplete, too new, with operators outside the standard, or with another input than
            one picture; the message says what to do.
    """
    proto = _parsed(Path(path))
    _check_opset(Path(path), proto)
    proto = _completed(Path(path), proto)
    value = _only_input(Path(path), proto)
    kind = value.type.tensor_type.elem_type
    if kind not in FLOATS:
        raise OnnxError(
            f"{path}: the input {value.name!r} is {_type_name(kind)}, a picture in float32 or float16 was expected; "
            "export the model without the conversion from bytes"
        )
    batch, *picture = _fixed_shape(Path(path), value, input_shape)
    if batch != 1:  # all that comes behind feeds one picture at a time
        raise OnnxError(
            f"{path}: the input {value.name!r} {_shape_text(value)} is {batch} pictures at once; export the model with "
            "a batch of 1, or an open one, and leave it so"
        )
    channels_last = picture[0] != COLOURS
    height, width = picture[:2] if channels_last else picture[1:]
    is_half = kind == TensorProto.FLOAT16
    return OnnxModel(Path(path), proto, value.name, (batch, COLOURS, height, width), is_half, channels_last)


def _parsed(path: Path) -> Any:
    if not path.is_file():
        raise OnnxError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}; give an .onnx file")
    try:
        proto = onnx.load_model(str(path), load_external_data=False)
    except DecodeError as error:
        raise OnnxError(
            f"{path} ({path.stat().st_size:,} bytes) is no ONNX file, or an incomplete one; copy or export it again"
        ) from error
    if not proto.graph.node or not proto.opset_import:
        raise OnnxError(f"{path} is no ONNX file, or an incomplete one: it has no operators; export it again")
    return proto


def _completed(path: Path, proto: Any) -> Any:
    """With its external data, checked, functions of its own spelled out."""
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    _check_operators(path, proto)  # the checker says less of what it does not know
    try:
        onnx.load_external_data_for_model(proto, str(path.parent))
        onnx.checker.check_model(_with_output_shapes(proto))
    except (onnx.checker.ValidationError, OSError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise OnnxError(
            f"{path} is damaged, or data that belongs to it does not lie beside it ({lines[0]}); copy all of its files "
            "or export it again"
        ) from error
    return proto


def _with_output_shapes(proto: Any) -> Any:
    """The same, or a copy that says a shape for every output: the checker asks for it, ONNX Runtime does not."""
    silent = [o.name for o in proto.graph.output if not o.type.tensor_type.HasField("shape")]
    if not silent:
        return proto
    told = type(proto)()
    told.CopyFrom(proto)
    for output in told.graph.output:
        output.type.tensor_type.shape.SetInParent()
    return told


def _check_opset(path: Path, proto: Any) -> None:
    newest = onnx.defs.onnx_opset_version()
    for opset in proto.opset_import:
        if opset.domain in STANDARD_DOMAINS and not OLDEST_OPSET <= opset.version <= newest:
            raise OnnxError(
                f"{path} is in opset {opset.version}, {OLDEST_OPSET} to {newest} are read; export it with "
                f"opset_version={15 if opset.version > newest else 11}"
            )


def _check_operators(path: Path, proto: Any) -> None:
    for node in proto.graph.node:
        if node.domain not in STANDARD_DOMAINS:
            raise OnnxError(
                f"{path}: operator {node.op_type!r} ({node.name!r}) is of the domain {node.domain!r}, not of the ONNX "
                "standard; export the model without it, or cut it off"
            )
        if node.op_type in CONTROL_FLOW:
            raise OnnxError(
                f"{path}: operator {node.op_type!r} ({node.name!r}) is control flow, which cannot be cut; export the "
                "model without it (loops unrolled, post-processing left out)"
            )
        for attribute in node.attribute:  # ONNX Runtime divides by them, which ends the whole process
            if attribute.name in STEPS and any(step < 1 for step in attribute.ints):
                raise OnnxError(
                    f"{path}: operator {node.op_type!r} ({node.name!r}) has {attribute.name}={list(attribute.ints)}, "
                    "from 1 on was expected; export the model again, perhaps for larger pictures"
                )


def _only_input(path: Path, proto: Any) -> Any:
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in weights]
    if len(inputs) != 1:
        described = ", ".join(f"{value.name} {_shape_text(value)}" for value in inputs) or "none"
        raise OnnxError(
            f"{path} has {len(inputs)} inputs ({described}); one picture was expected. Export the model without its "
            "post-processing, which is what the others usually serve"
        )
    return inputs[0]


def _fixed_shape(path: Path, value: Any, wanted: Optional[Sequence[int]]) -> List[int]:
    """Sizes in the file's order of axes."""
    dims = value.type.tensor_type.shape.dim
    declared = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else 0 for d in dims]
    if wanted is not None:
        shape = list(wanted)
        fits = len(shape) == len(declared) and all(d in (0, size) for d, size in zip(declared, shape))
        if not fits or min(shape) < 1:
            raise OnnxError(
                f"{path}: --input {'x'.join(map(str, shape))} does not fit the input {value.name!r} "
                f"{_shape_text(value)}; only sizes that it leaves open can be chosen"
            )
    else:
        shape = [size or int(i == 0) for i, size in enumerate(declared)]
    is_picture = len(shape) == 4 and COLOURS in (shape[1], shape[3])
    if is_picture and 0 in shape:
        raise OnnxError(
            f"{path}: the input {value.name!r} {_shape_text(value)} is open; say --input "
            f"{'1x3x416x416' if shape[1] == COLOURS else '1x416x416x3'}, or so"
        )
    if not is_picture:
        raise OnnxError(
            f"{path}: the input {value.name!r} is {_shape_text(value)}; one picture in three colours was "
            "expected, [batch, 3, height, width] or [batch, height, width, 3]. Where sizes are open, give them with "
            "--input 1x3x416x416"
        )
    return shape


def _shape_text(value: Any) -> str:
    dims = value.type.tensor_type.shape.dim
    return "[" + ", ".join(str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in dims) + "]"


def _type_name(kind: int) -> str:
    return str(TensorProto.DataType.Name(kind)).lower()
