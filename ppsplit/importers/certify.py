"""Proof that an imported program computes what ONNX Runtime computes from the file, where it will serve.

Paddle Inference runs with its optimisations, as the cloud runs it: they have turned right programs into NaN. The whole
program in Paddle Lite tells whether heads of it will run on a board, and in OpenVINO, where that is installed, whether
it may serve there; what they cannot take is reported, not refused, since a bundle may do without.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import onnxruntime

from ppsplit.errors import CertificationError, ConversionError, InferenceRuntimeError
from ppsplit.export.certify import compare
from ppsplit.export.lite import TARGETS, convert_to_nb
from ppsplit.export.program import MODEL_SUFFIX, PARAMS_SUFFIX, FrozenProgram
from ppsplit.importers.locate import explain_difference
from ppsplit.importers.onnx_file import OnnxModel
from ppsplit.importers.prepare import QUIET
from ppsplit.runtime import Tensors, native_target
from ppsplit.runtime.kinds import RUNTIMES
from ppsplit.runtime.lite_apart import run_apart
from ppsplit.runtime.paddle import PaddleRuntime

RunAll = Callable[[Sequence[Tensors]], List[Tensors]]
TOLERANCE = 1e-4  # largest difference over the largest value of an output
FAINT = 1e-3  # an output this much smaller than for another sample is compared with that one's size
HALF_TOLERANCE = 2e-2  # ONNX Runtime computes the original in float16, which has 11 bits


@dataclass(frozen=True)
class ImportCertificate:
    """How far a program is from ONNX Runtime.

    Attributes:
        runtime: "paddle", "lite" or "openvino".
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
            made = [paddle.run({graph.inputs[0]: sample}) for sample in given]
            try:
                errors = _errors(model, made, expected[kind], scales, "Paddle Inference")
                certificates.append(_certificate("paddle", kind, tolerance, errors))
            except CertificationError as error:
                where = explain_difference(model, program, given[0], tolerance)
                raise CertificationError(f"{error}: {where}. Nothing was written") from error
        for runtime, run in _others(prefix):
            try:
                for kind, given in samples.items():
                    made = run([{graph.inputs[0]: sample} for sample in given])
                    errors = _errors(model, made, expected[kind], scales, runtime)
                    certificates.append(_certificate(runtime, kind, tolerance, errors))
            except (ConversionError, InferenceRuntimeError, CertificationError) as error:
                remark = " ".join(str(error).split())
                certificates.append(ImportCertificate(runtime, kind, 0, None, None, tolerance, remark))
    return certificates


def _others(prefix: Path) -> List[Tuple[str, RunAll]]:
    """The runtimes that are here beside Paddle Inference, which a program may do without."""
    found: List[Tuple[str, RunAll]] = []
    if native_target() in TARGETS:
        found.append(("lite", lambda feeds: run_apart(_nb(prefix), feeds)))
    if RUNTIMES["openvino"].is_installed():
        found.append(("openvino", lambda feeds: _run_openvino(prefix, feeds)))
    return found


def _nb(prefix: Path) -> Path:
    nb = prefix.with_suffix(".nb")
    return nb if nb.is_file() else convert_to_nb(prefix, nb, native_target())


def _run_openvino(prefix: Path, feeds: Sequence[Tensors]) -> List[Tensors]:
    from ppsplit.runtime.openvino import OpenVinoRuntime

    runtime = OpenVinoRuntime(Path(f"{prefix}{MODEL_SUFFIX}"))
    return [runtime.run(dict(zip(runtime.input_names, each.values()))) for each in feeds]


def _session(model: OnnxModel) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    return onnxruntime.InferenceSession(model.proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _run_onnx(session: onnxruntime.InferenceSession, model: OnnxModel, sample: np.ndarray) -> Tensors:
    fed = model.laid_out(sample.astype(np.float16) if model.is_half else sample)
    outputs = session.run(model.output_names, {model.input_name: fed})
    for name, values in zip(model.output_names, outputs):
        if not np.isfinite(values).all():
            raise CertificationError(
                f"{model.path}: ONNX Runtime itself gives values that are not finite in {name!r} for an input in "
                f"{float(sample.min()):.3g}..{float(sample.max()):.3g}; are --mean and --std those of the model?"
            )
    return dict(zip(model.output_names, outputs))


def _errors(
    model: OnnxModel, made: Sequence[Tensors], expected: Sequence[Tensors], scales: Dict[str, float], runtime: str
) -> List[Tuple[float, float]]:
    errors = []
    for outputs, wanted in zip(made, expected):
        if len(outputs) != len(wanted):
            raise CertificationError(f"{runtime} returns {list(outputs)}, the file {list(wanted)}")
        named = dict(zip(model.output_names, outputs.values()))
        errors.append(difference(named, wanted, scales, f"{model.path} in {runtime}"))
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
