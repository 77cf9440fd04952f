"""Proof that an imported program computes what ONNX Runtime computes from the file, where it will serve.

Paddle Inference runs with its optimisations, as the cloud runs it: they have turned right programs into NaN. The whole
program in Paddle Lite tells whether heads of it will run on a board; what it cannot take is reported, not refused,
since a head may do without.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
import onnxruntime

from ppsplit.errors import CertificationError, ConversionError, InferenceRuntimeError
from ppsplit.export.certify import compare
from ppsplit.export.lite import TARGETS, convert_to_nb
from ppsplit.export.program import MODEL_SUFFIX, PARAMS_SUFFIX, FrozenProgram
from ppsplit.importers.locate import explain_difference
from ppsplit.importers.onnx_file import OnnxModel
from ppsplit.importers.prepare import QUIET
from ppsplit.runtime import Runtime, Tensors, native_target
from ppsplit.runtime.lite import LiteRuntime
from ppsplit.runtime.paddle import PaddleRuntime

TOLERANCE = 1e-4  # largest difference over the largest value of an output
FAINT = 1e-3  # an output this much smaller than for another sample is compared with that one's size
HALF_TOLERANCE = 2e-2  # ONNX Runtime computes the original in float16, which has 11 bits


@dataclass(frozen=True)
class ImportCertificate:
    """How far a program is from ONNX Runtime.

    Attributes:
        runtime: "paddle" or "lite".
        inputs: what was fed: "random" or "photos".
        count: how many of them.
        max_abs_error: over all outputs; None where the runtime cannot take the program.
        max_relative_error: the same divided by the largest value of that output.
        tolerance: the relative error that was allowed.
        remark: why the runtime cannot take the program, "" where it can.
    """

    runtime: str
    inputs: str
    count: int
    max_abs_error: Optional[float]
    max_relative_error: Optional[float]
    tolerance: float
    remark: str = ""


def certify_import(
    model: OnnxModel, program: FrozenProgram, samples: Dict[str, Sequence[np.ndarray]]
) -> List[ImportCertificate]:
    """Run the program and the file on the same inputs.

    Args:
        samples: "random" and "photos" to network inputs, float32 of the model's input shape.

    Raises:
        CertificationError: an output of the program in Paddle Inference is off, or not finite.
    """
    tolerance = HALF_TOLERANCE if model.is_half else TOLERANCE
    session = _session(model)
    expected = {kind: [_run_onnx(session, model, sample) for sample in given] for kind, given in samples.items()}
    scales = scales_of(expected)
    certificates = []
    with tempfile.TemporaryDirectory() as scratch:
        prefix = Path(scratch, "model")
        graph = program.graph()
        kept = program.with_constants([operator.index for operator in graph.operators])
        program.save_part(prefix, kept, graph.inputs, graph.outputs)
        paddle = PaddleRuntime(Path(f"{prefix}{MODEL_SUFFIX}"), Path(f"{prefix}{PARAMS_SUFFIX}"))
        for kind, given in samples.items():
            try:
                errors = _errors(paddle, model, given, expected[kind], scales)
                certificates.append(_certificate("paddle", kind, tolerance, errors))
            except CertificationError as error:
                where = explain_difference(model, program, given[0], tolerance)
                raise CertificationError(f"{error}: {where}. Nothing was written") from error
        certificates += _lite_certificates(prefix, model, samples, expected, scales, tolerance)
    return certificates


def _session(model: OnnxModel) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    return onnxruntime.InferenceSession(model.proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _run_onnx(session: onnxruntime.InferenceSession, model: OnnxModel, sample: np.ndarray) -> Tensors:
    fed = sample.astype(np.float16) if model.is_half else sample
    outputs = session.run(model.output_names, {model.input_name: fed})
    for name, values in zip(model.output_names, outputs):
        if not np.isfinite(values).all():
            raise CertificationError(
                f"{model.path}: ONNX Runtime itself gives values that are not finite in {name!r} for an input in "
                f"{float(sample.min()):.3g}..{float(sample.max()):.3g}; are --mean and --std those of the model?"
            )
    return dict(zip(model.output_names, outputs))


def _errors(
    runtime: Runtime,
    model: OnnxModel,
    given: Sequence[np.ndarray],
    expected: Sequence[Tensors],
    scales: Dict[str, float],
) -> List[Tuple[float, float]]:
    runtime.named(model.output_names)
    errors = []
    for sample, wanted in zip(given, expected):
        made = runtime.run({runtime.input_names[0]: sample})
        errors.append(difference(made, wanted, scales, f"{model.path} in {type(runtime).__name__}"))
    return errors


def scales_of(expected: Dict[str, List[Tensors]]) -> Dict[str, float]:
    """Largest magnitude of each output over all samples."""
    runs = [run for runs in expected.values() for run in runs]
    return {name: max(float(np.abs(run[name]).max(initial=0)) for run in runs) for name in runs[0]}


def difference(actual: Tensors, expected: Tensors, scales: Dict[str, float], where: str) -> Tuple[float, float]:
    """Largest absolute and largest relative difference over all outputs.

    Relative means: over the largest magnitude of that output for this sample, but for no less than `FAINT` of its
    largest for any sample. A detector that sees nothing in noise gives scores of 1e-8, which no two runtimes share.

    Raises:
        CertificationError: shapes differ, or a value is not finite.
    """
    absolute, relative = 0.0, 0.0
    for name, wanted in expected.items():
        made = actual[name]
        if made.size == wanted.size == 1:  # a scalar of ONNX is a vector of one in Paddle
            made = made.reshape(wanted.shape)
        error, _ = compare({name: made}, {name: wanted}, where)
        largest = max(float(np.abs(wanted).max(initial=0)), FAINT * scales[name], 1e-12)
        absolute, relative = max(absolute, error), max(relative, error / largest)
    return absolute, relative


def _certificate(runtime: str, kind: str, tolerance: float, errors: Sequence[Tuple[float, float]]) -> ImportCertificate:
    absolute, relative = (max(pair[i] for pair in errors) for i in (0, 1))
    if not relative <= tolerance:
        raise CertificationError(
            f"the program differs from ONNX Runtime by {relative:.2e} relative in {runtime} on {kind}, {tolerance:.0e} "
            "is allowed"
        )
    return ImportCertificate(runtime, kind, len(errors), absolute, relative, tolerance)


def _lite_certificates(
    prefix: Path,
    model: OnnxModel,
    samples: Dict[str, Sequence[np.ndarray]],
    expected: Dict[str, List[Tensors]],
    scales: Dict[str, float],
    tolerance: float,
) -> List[ImportCertificate]:
    if native_target() not in TARGETS:
        return []
    try:
        nb = convert_to_nb(prefix, prefix.with_suffix(".nb"), native_target())
        runtime = LiteRuntime(nb)
        return [
            _certificate("lite", kind, tolerance, _errors(runtime, model, given, expected[kind], scales))
            for kind, given in samples.items()
        ]
    except (ConversionError, InferenceRuntimeError, CertificationError) as error:
        return [ImportCertificate("lite", "photos", 0, None, None, tolerance, " ".join(str(error).split()))]
