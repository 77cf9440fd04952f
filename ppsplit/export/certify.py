"""Proof that the two halves compute what the whole computes, in the runtimes and with the options that serve."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from ppsplit.bundle import FULL, HEAD, TAIL, Bundle, Certificate, Cut, ProgramFiles
from ppsplit.bundle.precision import FP32, MIXED, PTQ, QAT
from ppsplit.errors import CertificationError, InferenceRuntimeError
from ppsplit.export.program import FrozenProgram
from ppsplit.export.reference import run_plainly
from ppsplit.runtime import Runtime, Tensors, load_program, run_part, runs_here
from ppsplit.runtime.kinds import RUNTIMES
from ppsplit.runtime.lite_apart import run_apart

# Largest |split - full| over the largest |full| of an output. 8 bits and fewer change the result by design: reported.
TOLERANCES: Dict[str, Optional[float]] = {
    "fp32": 1e-4,
    "int16": 1e-3,
    "int8": None,
    **dict.fromkeys((*PTQ, QAT, MIXED)),
}
# Beyond this it is not rounding any more: an output that is off by several times its own range is noise.
ABSURD = 10.0

WHOLE_TOLERANCE = 1e-3  # of the optimised whole against the plain one: the order of sums differs in every layer


def certify(bundle: Bundle, cut: Cut, images: Sequence[np.ndarray]) -> List[Certificate]:
    """Run every head with every tail that this machine can run, against the whole network.

    That one is compared with the plain executor first: a pass could make it as wrong as its halves. A runtime that
    reads the programs of another one, where it is installed, runs both halves of them; what it cannot take or gets
    wrong has no certificate, since the bundle was not made for it.

    Args:
        images: network inputs, float32 [1, 3, H, W] each. They go one by one, and two as a batch where it is open.

    Raises:
        CertificationError: an output is not finite, of another shape, or off by more than the tolerance; or Paddle
            Lite cannot compute a half.
    """
    if not images:
        raise CertificationError("certification needs at least one image; give --certify-images")
    batches = list(images)
    if bundle.manifest.input.shape[0] == -1:
        batches.append(np.concatenate([images[0], images[-1]]))
    full = load_program(bundle, bundle.program(cut, FULL, "paddle"))
    expected = [run_whole(bundle, full, batch) for batch in batches]
    _check_whole(bundle, bundle.program(cut, FULL, "paddle"), batches, expected)
    proof = _Proof(bundle, cut, batches, expected, len(images))
    certificates = []
    for tail_program in _runnable(cut, TAIL):
        _probe(bundle, cut, tail_program, batches[0])
        tail = load_program(bundle, tail_program)
        for head_program in _runnable(cut, HEAD):
            _probe(bundle, cut, head_program, batches[0])
            head = load_program(bundle, head_program)
            certificates.append(proof.certificate(head_program, head, tail_program, tail))
    return certificates + [made for name in _guests() for made in _guest_certificates(proof, name)]


@dataclass(frozen=True)
class _Proof:
    """What the halves of a cut are held against."""

    bundle: Bundle
    cut: Cut
    batches: Sequence[np.ndarray]
    expected: Sequence[Tensors]
    images: int

    def certificate(
        self, head_program: ProgramFiles, head: Runtime, tail_program: ProgramFiles, tail: Runtime, guest: str = ""
    ) -> Certificate:
        """Run them. `guest` is the runtime of both where it is not their own. Raises CertificationError."""
        in_guest = f" in {guest}" if guest else ""
        where = f"cut {self.cut.name!r}, head {_called(head_program)}, tail {_called(tail_program)}{in_guest}"
        errors = [
            compare(run_split(self.bundle, self.cut, head, tail, batch), whole, where)
            for batch, whole in zip(self.batches, self.expected)
        ]
        head_runtime, tail_runtime = (
            program.runtime if not guest or program.runtime == "passthrough" else guest
            for program in (head_program, tail_program)
        )
        runtimes = (head_runtime, tail_runtime)
        return _certificate(head_program, runtimes, self.images, errors, where)


def _guests() -> List[str]:
    """The installed runtimes that have no programs of their own in a bundle."""
    return [name for name, kind in RUNTIMES.items() if kind.reads != name and kind.is_installed()]


def _guest_certificates(proof: _Proof, name: str) -> List[Certificate]:
    reads = RUNTIMES[name].reads
    certificates = []
    heads, tails = (
        [program for program in _runnable(proof.cut, part) if program.runtime in (reads, "passthrough")]
        for part in (HEAD, TAIL)
    )
    for tail_program in tails:
        for head_program in heads:
            with contextlib.suppress(InferenceRuntimeError, CertificationError):
                head, tail = (load_program(proof.bundle, p, runtime=name) for p in (head_program, tail_program))
                certificates.append(proof.certificate(head_program, head, tail_program, tail, name))
    return certificates


def _probe(bundle: Bundle, cut: Cut, program: ProgramFiles, image: np.ndarray) -> None:
    """Let Paddle Lite end another process than this one, if it does not bear the program. Raises CertificationError.

    Other precisions of a half are the same graph.
    """
    if program.runtime != "lite" or program.precision != FP32:
        return
    feeds = {bundle.manifest.input.name: image}
    if program.part == TAIL:
        head = load_program(bundle, bundle.program(cut, HEAD, "paddle", FP32))
        feeds.update(run_part(head, feeds, [spec.name for spec in cut.tensors]))
    try:
        run_apart(bundle.path(program.files["nb"]), [feeds])
    except InferenceRuntimeError as error:
        raise CertificationError(
            f"cut {cut.name!r}, {program.part}: {error}; cut at another place, or leave this half to another runtime"
        ) from error


def _check_whole(bundle: Bundle, whole: ProgramFiles, batches: Sequence[np.ndarray], found: Sequence[Tensors]) -> None:
    """Raise CertificationError where the optimised whole is off from what its program says."""
    program = FrozenProgram.load(bundle.path(whole.files["model"]).with_suffix(""))
    for batch, outputs in zip(batches, found):
        plain = run_plainly(program, {bundle.manifest.input.name: batch}, whole.outputs)
        expected = {spec.name: plain[name] for spec, name in zip(bundle.manifest.outputs, whole.outputs)}
        _, relative = compare(outputs, expected, "the whole network in Paddle Inference")
        if not relative <= WHOLE_TOLERANCE:
            raise CertificationError(
                f"the whole network in Paddle Inference differs by {relative:.2e} relative from what its program "
                f"says, {WHOLE_TOLERANCE:.0e} is allowed; one of its optimisations does not bear this program"
            )


def _runnable(cut: Cut, part: str) -> List[ProgramFiles]:
    return [program for program in cut.programs if program.part == part and runs_here(program)]


def _called(program: ProgramFiles) -> str:
    return f"{program.runtime}/{program.target}/{program.precision}"


def _certificate(
    head: ProgramFiles, runtimes: Tuple[str, str], images: int, errors: Sequence[Tuple[float, float]], where: str
) -> Certificate:
    absolute, relative = (max(pair[i] for pair in errors) for i in (0, 1))
    tolerance = TOLERANCES[head.precision]
    allowed = ABSURD if tolerance is None else tolerance
    if not relative <= allowed:
        raise CertificationError(
            f"{where}: the halves differ from the whole by {relative:.2e} relative, {allowed:.0e} is allowed; "
            "choose another cut or runtime" + ("" if tolerance else ", more bits, or other calibration images")
        )
    head_runtime, tail_runtime = runtimes
    return Certificate(head_runtime, head.target, head.precision, images, absolute, relative, tolerance, tail_runtime)


def run_whole(bundle: Bundle, full: Runtime, image: np.ndarray) -> Tensors:
    """Raw outputs of the unsplit network for one input."""
    outputs = [spec.name for spec in bundle.manifest.outputs]
    return run_part(full, {bundle.manifest.input.name: image}, outputs)


def run_split(bundle: Bundle, cut: Cut, head: Runtime, tail: Runtime, image: np.ndarray) -> Tensors:
    """Raw outputs of head then tail for one input, with nothing between them."""
    features = run_part(head, {bundle.manifest.input.name: image}, [spec.name for spec in cut.tensors])
    return run_part(tail, features, [spec.name for spec in bundle.manifest.outputs])


def compare(actual: Tensors, expected: Tensors, where: str) -> Tuple[float, float]:
    """Largest absolute and largest relative difference over all outputs.

    Relative means: over the largest magnitude of the expected output, so that a zero cannot blow it up.

    Raises:
        CertificationError: shapes differ, or a value is not finite (a comparison with NaN would pass any test).
    """
    absolute, relative = 0.0, 0.0
    for name, whole in expected.items():
        split = actual[name]
        if split.shape != whole.shape:
            raise CertificationError(f"{where}: output {name} has shape {split.shape}, the whole gives {whole.shape}")
        for label, values in (("halves", split), ("whole", whole)):
            if not np.isfinite(values).all():
                raise CertificationError(f"{where}: the {label} give values that are not finite in output {name}")
        difference = float(np.abs(split.astype(np.float64) - whole).max(initial=0))
        absolute = max(absolute, difference)
        relative = max(relative, difference / max(float(np.abs(whole).max(initial=0)), 1e-12))
    return absolute, relative
