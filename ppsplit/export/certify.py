"""Proof that the two halves compute what the whole computes, in the runtimes and with the options that serve."""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence

import numpy as np

from ppsplit.bundle import FULL, HEAD, TAIL, Bundle, Certificate, Cut, ProgramFiles
from ppsplit.errors import CertificationError
from ppsplit.runtime import Runtime, Tensors, load_program, run_part, runs_here

# Largest |split - full| over the largest |full| of an output. 8-bit weights change the result by design: reported.
TOLERANCES: Dict[str, Optional[float]] = {"fp32": 1e-4, "int16": 1e-3, "int8": None}


def certify(bundle: Bundle, cut: Cut, images: Sequence[np.ndarray]) -> List[Certificate]:
    """Run every head that this machine can run, then the tail, against the whole network.

    Args:
        images: network inputs, float32 [1, 3, H, W] each.

    Raises:
        CertificationError: an output is not finite, of another shape, or off by more than the tolerance.
    """
    if not images:
        raise CertificationError("certification needs at least one image; give --certify-images")
    full = load_program(bundle, bundle.program(cut, FULL, "paddle"))
    expected = [run_whole(bundle, full, image) for image in images]
    tail = load_program(bundle, bundle.program(cut, TAIL, "paddle"))
    heads = [program for program in cut.programs if program.part == HEAD and runs_here(program)]
    return [_certify_head(bundle, cut, program, tail, images, expected) for program in heads]


def run_whole(bundle: Bundle, full: Runtime, image: np.ndarray) -> Tensors:
    """Raw outputs of the unsplit network for one input."""
    outputs = [spec.name for spec in bundle.manifest.outputs]
    return run_part(full, {bundle.manifest.input.name: image}, outputs)


def run_split(bundle: Bundle, cut: Cut, head: Runtime, tail: Runtime, image: np.ndarray) -> Tensors:
    """Raw outputs of head then tail for one input, with nothing between them."""
    features = run_part(head, {bundle.manifest.input.name: image}, [spec.name for spec in cut.tensors])
    return run_part(tail, features, [spec.name for spec in bundle.manifest.outputs])


def _certify_head(
    bundle: Bundle,
    cut: Cut,
    program: ProgramFiles,
    tail: Runtime,
    images: Sequence[np.ndarray],
    expected: Sequence[Tensors],
) -> Certificate:
    head = load_program(bundle, program)
    where = f"cut {cut.name!r}, head {program.runtime}/{program.target}/{program.precision}"
    errors = [
        compare(run_split(bundle, cut, head, tail, image), whole, where) for image, whole in zip(images, expected)
    ]
    absolute, relative = (max(pair[i] for pair in errors) for i in (0, 1))
    tolerance = TOLERANCES[program.precision]
    if tolerance is not None and not relative <= tolerance:
        raise CertificationError(
            f"{where}: the halves differ from the whole by {relative:.2e} relative, {tolerance:.0e} is allowed; "
            "choose another cut or runtime"
        )
    return Certificate(program.runtime, program.target, program.precision, len(images), absolute, relative, tolerance)


def compare(actual: Tensors, expected: Tensors, where: str) -> List[float]:
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
    return [absolute, relative]
