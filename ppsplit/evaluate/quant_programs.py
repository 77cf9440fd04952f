"""The programs of a bundle's Paddle heads with their parameters, and what the files say of how those were rounded."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Dict, Mapping

import numpy as np

from ppsplit.evaluate.quant_subjects import Subject
from ppsplit.export.heads import PLAN, STAGES, read_stages
from ppsplit.export.program import MODEL_SUFFIX, PARAMS_SUFFIX, FrozenProgram
from ppsplit.export.ptq import weight_axes
from ppsplit.export.quantize import WEIGHT_BITS
from ppsplit.export.simulate import parameter_values
from ppsplit.quant.packed import PackedLayer, read_packed
from ppsplit.runtime.pdiparams import encode_params


@dataclass(frozen=True)
class Grid:
    """Weights that were rounded and are float32 in the program: bits, and the largest step of all channels."""

    bits: int
    scale: float


@dataclass(frozen=True)
class HeldProgram:
    """A head's program.

    Attributes:
        program: with all its parameters.
        weights: parameter name to its grid, where the program itself does not say it.
        activation_bits: tensor name to bits, likewise: a tensor that is never negative has one bit more in the program.
    """

    program: FrozenProgram
    weights: Mapping[str, Grid] = field(default_factory=dict)
    activation_bits: Mapping[str, int] = field(default_factory=dict)


def stages_of(subject: Subject) -> Dict[str, str]:
    """Stage ("conv4") to the tensor it returns, outermost first; {} where the export did not write it down."""
    beside = _beside(subject, STAGES)
    return read_stages(subject.bundle.path(beside)) if beside in subject.bundle.manifest.files else {}


def held_program(subject: Subject, stages: Mapping[str, str]) -> HeldProgram:
    """A Paddle head's program, read from the bundle.

    Args:
        stages: structural name to tensor, in which a plan of bits is written.

    Raises:
        BundleError, ProgramError, WeightsError: a file is damaged or none of Paddle's.
    """
    files, precision = subject.program.files, subject.program.precision
    model = subject.bundle.path(files["model"])
    if "packed" in files:
        return _packed(subject, model, stages)
    program = FrozenProgram.load(model.with_suffix(""))
    if precision not in WEIGHT_BITS:
        return HeldProgram(program)
    values, bits = parameter_values(program), WEIGHT_BITS[precision]
    steps = 2 ** (bits - 1) - 1
    return HeldProgram(program, {n: Grid(bits, float(np.abs(values[n]).max()) / steps) for n in weight_axes(program)})


def _packed(subject: Subject, model: Path, stages: Mapping[str, str]) -> HeldProgram:
    layers, _ = read_packed(subject.bundle.path(subject.program.files["packed"]))
    values = {n: layer.weights() if isinstance(layer, PackedLayer) else layer for n, layer in layers.items()}
    with tempfile.TemporaryDirectory() as scratch:
        prefix = Path(scratch) / "model"
        Path(f"{prefix}{MODEL_SUFFIX}").write_bytes(model.read_bytes())
        Path(f"{prefix}{PARAMS_SUFFIX}").write_bytes(encode_params(values))
        program = FrozenProgram.load(prefix)
    weights = {n: Grid(x.bits, float(x.scale.max())) for n, x in layers.items() if isinstance(x, PackedLayer)}
    return HeldProgram(program, weights, _planned_bits(subject, stages))


def _planned_bits(subject: Subject, stages: Mapping[str, str]) -> Dict[str, int]:
    plan = _beside(subject, PLAN)
    if plan not in subject.bundle.manifest.files:
        return {}
    values = json.loads(subject.bundle.path(plan).read_text(encoding="utf-8"))
    return {stages.get(name, name): int(bits) for name, bits in values["activation_bits"].items()}


def _beside(subject: Subject, name: str) -> str:
    """A file's path inside the bundle, in the folder of a head's program."""
    return (PurePosixPath(subject.program.files["model"]).parent / name).as_posix()
