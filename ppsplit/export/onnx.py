"""A frozen program as an ONNX file, written through paddle2onnx and checked in ONNX Runtime."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Mapping, Sequence

import numpy as np

from ppsplit.errors import CertificationError, ConversionError, InferenceRuntimeError
from ppsplit.export.certify import WHOLE_TOLERANCE, compare
from ppsplit.export.program import MODEL_SUFFIX, PARAMS_SUFFIX, FrozenProgram
from ppsplit.export.reference import run_plainly
from ppsplit.files import write_bytes_atomically
from ppsplit.runtime.onnx import OnnxRuntime

OPSET = 13  # what ONNX Runtime, OpenVINO and TensorRT have taken for years


def write_onnx(program: FrozenProgram, path: Path, feeds: Sequence[Mapping[str, np.ndarray]]) -> float:
    """Write the program as `path`, its tensors named as here, the batch open where it is.

    Args:
        feeds: what to check it on, each a tensor for every input of the program, by name; others are left aside.

    Returns:
        the largest relative difference of ONNX Runtime's outputs from those of Paddle's plain executor.

    Raises:
        ConversionError: paddle2onnx cannot take the program, or ONNX Runtime not what it made.
        CertificationError: it computes something else, or what is not finite; nothing is written.
    """
    with tempfile.TemporaryDirectory() as scratch:
        written = _convert(program, Path(scratch))
        content = written.read_bytes()
        largest = _largest_error(program, written, feeds)
    if not largest <= WHOLE_TOLERANCE:
        raise CertificationError(
            f"the ONNX file differs by {largest:.2e} relative from its program, {WHOLE_TOLERANCE:.0e} is allowed; "
            "nothing was written"
        )
    write_bytes_atomically(path, content)
    return largest


def _convert(program: FrozenProgram, folder: Path) -> Path:
    try:
        import paddle2onnx
    except ImportError as error:
        raise ConversionError(f"--format onnx needs paddle2onnx ({error}); install the extra ppsplit[onnx]") from error
    graph = program.graph()
    prefix, written = folder / "model", folder / "model.onnx"
    kept = program.with_constants([operator.index for operator in graph.operators])
    program.save_part(prefix, kept, graph.inputs, graph.outputs)
    try:
        paddle2onnx.export(
            *(f"{prefix}{MODEL_SUFFIX}", f"{prefix}{PARAMS_SUFFIX}", str(written)),
            opset_version=OPSET,
            verbose=False,
        )
        written.stat()
    except Exception as error:  # it raises bare ones, or writes nothing
        raise ConversionError(
            f"paddle2onnx cannot take the program ({' '.join(str(error).split())[:300]}); export it without "
            "--format onnx"
        ) from error
    return written


def _largest_error(program: FrozenProgram, written: Path, feeds: Sequence[Mapping[str, np.ndarray]]) -> float:
    graph = program.graph()
    try:
        runtime = OnnxRuntime(written).named(graph.outputs)
    except InferenceRuntimeError as error:
        raise ConversionError(f"{error}; export it without --format onnx") from error
    errors = [0.0]
    for available in feeds:
        given = {name: available[name] for name in graph.inputs}
        expected = run_plainly(program, given, graph.outputs)
        errors.append(compare(runtime.run(given), expected, "the ONNX file in ONNX Runtime")[1])
    return max(errors)
