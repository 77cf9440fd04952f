"""A frozen program as an ONNX file, written through paddle2onnx and checked in ONNX Runtime."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from ppsplit.errors import CertificationError, ConversionError
from ppsplit.export.certify import WHOLE_TOLERANCE, compare
from ppsplit.export.program import MODEL_SUFFIX, PARAMS_SUFFIX, FrozenProgram
from ppsplit.export.reference import run_plainly
from ppsplit.files import write_bytes_atomically

OPSET = 13  # what ONNX Runtime, OpenVINO and TensorRT have taken for years
QUIET = 4  # ONNX Runtime's level for fatal errors only


def write_onnx(program: FrozenProgram, path: Path, images: Sequence[np.ndarray]) -> float:
    """Write the program as `path`, its tensors named as here, the batch open where it is.

    Args:
        images: network inputs to check it on, float32 [1, 3, H, W] each.

    Returns:
        the largest relative difference of ONNX Runtime's outputs from those of Paddle's plain executor.

    Raises:
        ConversionError: paddle2onnx cannot take the program.
        CertificationError: it computes something else, or what is not finite; nothing is written.
    """
    content, graph = _converted(program), program.graph()
    session = _session(content)
    largest = 0.0
    for image in images:
        expected = run_plainly(program, {graph.inputs[0]: image}, graph.outputs)
        found = session.run(list(graph.outputs), {graph.inputs[0]: image})
        _, relative = compare(dict(zip(graph.outputs, found)), expected, "the ONNX file in ONNX Runtime")
        largest = max(largest, relative)
    if not largest <= WHOLE_TOLERANCE:
        raise CertificationError(
            f"the ONNX file differs by {largest:.2e} relative from its program, {WHOLE_TOLERANCE:.0e} is allowed; "
            "nothing was written"
        )
    write_bytes_atomically(path, content)
    return largest


def _converted(program: FrozenProgram) -> bytes:
    import paddle2onnx

    graph = program.graph()
    with tempfile.TemporaryDirectory() as scratch:
        prefix, written = Path(scratch, "model"), Path(scratch, "model.onnx")
        kept = program.with_constants([operator.index for operator in graph.operators])
        program.save_part(prefix, kept, graph.inputs, graph.outputs)
        try:
            paddle2onnx.export(
                *(f"{prefix}{MODEL_SUFFIX}", f"{prefix}{PARAMS_SUFFIX}", str(written)),
                opset_version=OPSET,
                verbose=False,
            )
            return written.read_bytes()
        except Exception as error:  # it raises bare ones, or writes nothing
            raise ConversionError(
                f"paddle2onnx cannot take the program ({' '.join(str(error).split())[:300]}); export it without "
                "--format onnx"
            ) from error


def _session(content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
