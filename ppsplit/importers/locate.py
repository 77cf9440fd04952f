"""Where a program parts from the ONNX file: the first tensor that differs, and the operator that makes it."""

from __future__ import annotations

from typing import Dict, List

import numpy as np
import onnx
import onnxruntime

from ppsplit.export.program import FrozenProgram
from ppsplit.export.reference import run_plainly
from ppsplit.importers.half import has_half, widen
from ppsplit.importers.onnx_file import OnnxModel
from ppsplit.importers.prepare import QUIET

NOISE = 10.0  # a difference ten times smaller than what is allowed at the end is none


def explain_difference(model: OnnxModel, program: FrozenProgram, sample: np.ndarray, tolerance: float) -> str:
    """A sentence on where the program, without Paddle Inference's optimisation, parts from the file.

    Args:
        sample: the network's input, float32.
        tolerance: what was allowed at the outputs, relative.
    """
    graph = program.graph()
    shared = [name for op in graph.operators for name in op.outputs if graph.tensors[name].dtype == "float32"]
    made = {name: node for node in model.proto.graph.node for name in node.output if name}
    shared = [name for name in shared if name in made]
    expected = _onnx_values(model, shared, sample)
    actual = run_plainly(program, {graph.inputs[0]: sample}, shared)
    for name in (name for name in made if name in expected):
        error = _relative(actual[name], expected[name])
        if not error <= tolerance / NOISE:
            node = made[name]
            while node.op_type == "Identity" and node.input[0] in made:  # the program has none of them
                node = made[node.input[0]]
            return f"the first tensor that differs is {name!r} ({error:.1e}), made by the operator {node.op_type!r}"
    return (
        "without Paddle Inference's optimisation it is right, so one of its passes is wrong for this program; export "
        "the model with other operators"
    )


def _onnx_values(model: OnnxModel, names: List[str], sample: np.ndarray) -> Dict[str, np.ndarray]:
    proto = type(model.proto)()
    proto.CopyFrom(model.proto)
    if has_half(proto):
        widen(proto)
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, {model.input_name: model.laid_out(sample)})))


def _relative(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference over the largest value; infinite for another shape or what is not finite."""
    if actual.size != expected.size or not np.isfinite(actual).all():
        return float("inf")
    difference = np.abs(actual.reshape(expected.shape).astype(np.float64) - expected).max(initial=0)
    return float(difference / max(float(np.abs(expected).max(initial=0)), 1e-12))
