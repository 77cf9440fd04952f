"""The edge half of one cut in every precision asked for, for every runtime."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Collection, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ppsplit.bundle import HEAD, ProgramFiles
from ppsplit.bundle.precision import FP32, MIXED, QAT, WEIGHTS_ONLY
from ppsplit.errors import BundleError, QuantizationError
from ppsplit.export.calibration import quantizable_activations
from ppsplit.export.layers import Rule, chosen_bits, layer_paths
from ppsplit.export.lite import convert_to_nb
from ppsplit.export.mixed import MODEL, PACKED, MixedPlan, given_mixed, plan_mixed, rounded_program, write_mixed
from ppsplit.export.program import MODEL_SUFFIX, PARAMS_SUFFIX, FrozenProgram
from ppsplit.export.ptq import quantize_static, write_static
from ppsplit.export.quantize import FAKE_QUANTIZED, quantize_weights
from ppsplit.files import write_bytes_atomically, write_json_atomically
from ppsplit.quant.packed import unpack_weights
from ppsplit.runtime.packed_nb import pack_nb

PLAN, STAGES = "plan.json", "stages.json"
Progress = Callable[[str], None]


@dataclass(frozen=True)
class QuantPlan:
    """How heads are quantized.

    Attributes:
        precisions: of `bundle.precision.QUANTIZED`, in order.
        memory_bytes: for "mixed": bits are chosen so that weights and activations fit; None where `bits` says them.
        bits: for "mixed": rules that say the weights' bits; activations stay float32.
        clips: for "qat": a stage's or tensor's name to the clip value that was learnt; None where there is none.
    """

    precisions: Tuple[str, ...] = ()
    memory_bytes: Optional[int] = None
    bits: Tuple[Rule, ...] = ()
    clips: Optional[Mapping[str, float]] = None


@dataclass(frozen=True)
class HeadSource:
    """What a cut's heads are made from.

    Attributes:
        folder: where all files go, the bundle's root.
        prefix: of the fp32 program, inside the folder, without suffix.
        outputs: what it returns.
        stages: structural name to tensor.
        inputs: calibration images as the program takes them; may be empty where no precision needs them.
    """

    folder: Path
    prefix: str
    outputs: Tuple[str, ...]
    stages: Mapping[str, str]
    inputs: Sequence[np.ndarray]

    @property
    def fp32(self) -> Path:
        """The prefix on the disk."""
        return self.folder / self.prefix

    def files(self, runtime: str, target: str, precision: str, files: Dict[str, str]) -> ProgramFiles:
        """A head's entry in the manifest."""
        return ProgramFiles(HEAD, runtime, target, precision, files, self.outputs)


def write_heads(source: HeadSource, plan: QuantPlan, targets: Sequence[str], progress: Progress) -> List[ProgramFiles]:
    """Write all heads beside the fp32 program for Paddle, which is there; returns them with that one in front.

    Args:
        targets: of Paddle Lite.

    Raises:
        CalibrationError: the images say nothing.
        QuantizationError: a precision cannot be had.
        ConversionError: Paddle Lite cannot take a head.
    """
    first = source.files("paddle", "any", FP32, paddle_files(source.prefix))
    exact = _lite_heads(source, source.fp32, FP32, targets)
    return [first, *exact, *quantized_heads(source, plan, targets, progress)]


def quantized_heads(
    source: HeadSource, plan: QuantPlan, targets: Sequence[str], progress: Progress
) -> List[ProgramFiles]:
    """Write the heads of the plan's precisions. Raises as `write_heads`."""
    heads: List[ProgramFiles] = []
    for precision in plan.precisions:
        progress(f"{source.prefix} in {precision}")
        if precision in WEIGHTS_ONLY:
            heads.append(_weights_only(source, precision))
            heads += _lite_heads(source, source.fp32, precision, targets)
        elif precision == MIXED:
            heads += _mixed(source, plan, targets, progress)
        else:
            heads += _static(source, precision, plan, targets)
    return heads


def write_stages(folder: Path, stages: Mapping[str, str], tensors: Collection[str]) -> Path:
    """Write which stage returns which of a head's tensors, for whoever quantizes it again by layers' names."""
    return write_json_atomically(folder / STAGES, {stage: name for stage, name in stages.items() if name in tensors})


def read_stages(path: Path) -> Dict[str, str]:
    """Inverse of `write_stages`. Raises BundleError for a file that it did not write."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(f"{path} is not JSON ({error}); export the bundle again") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values.values()):
        raise BundleError(f"{path} does not say which stage returns which tensor; export the bundle again")
    return values


def paddle_files(prefix: str) -> Dict[str, str]:
    """Roles to the files of a program for Paddle Inference."""
    return {"model": prefix + MODEL_SUFFIX, "params": prefix + PARAMS_SUFFIX}


def _within(source: HeadSource, precision: str) -> str:
    """The folder of a precision, relative to the bundle."""
    return (Path(source.prefix).parent / precision).as_posix()


def _weights_only(source: HeadSource, precision: str) -> ProgramFiles:
    folder = _within(source, precision)
    quantize_weights(source.fp32, source.folder / folder, precision)
    return source.files("paddle", "any", precision, paddle_files(f"{folder}/{FAKE_QUANTIZED}/model"))


def _static(source: HeadSource, precision: str, plan: QuantPlan, targets: Sequence[str]) -> List[ProgramFiles]:
    """Weights and activations in int8: by calibration, or with what fine-tuning has learnt."""
    folder = _within(source, precision)
    if precision == QAT:
        clips = _learnt_clips(source, plan.clips)
        written = write_static(source.fp32, source.folder / folder, source.inputs, clips)
    else:
        written = quantize_static(source.fp32, source.folder / folder, source.inputs, precision[len("ptq-") :])
    prefix = written.relative_to(source.folder).as_posix()
    paddle = source.files("paddle", "any", precision, paddle_files(prefix))
    return [paddle, *_lite_heads(source, written, precision, targets)]


def _learnt_clips(source: HeadSource, learnt: Optional[Mapping[str, float]]) -> Dict[str, float]:
    if learnt is None:
        raise QuantizationError(
            "qat needs a checkpoint that was fine-tuned with quantizers, and this one carries no activation clips; "
            "fine-tune it so, or calibrate instead with --quant ptq"
        )
    wanted = quantizable_activations(FrozenProgram.load(source.fp32).graph())
    by_tensor = {source.stages.get(name, name): clip for name, clip in learnt.items()}
    missing = [name for name in wanted if name not in by_tensor]
    if missing:
        raise QuantizationError(
            f"the checkpoint has clips of {len(by_tensor)} activations, but none of {', '.join(missing[:4])}; "
            "fine-tune the same network with quantizers in front of every convolution"
        )
    return {name: by_tensor[name] for name in wanted}


def _mixed(source: HeadSource, plan: QuantPlan, targets: Sequence[str], progress: Progress) -> List[ProgramFiles]:
    folder = _within(source, MIXED)
    program = FrozenProgram.load(source.fp32)
    paths = layer_paths(program, source.stages)
    if plan.bits:
        chosen = given_mixed(program, chosen_bits(paths, plan.bits), source.inputs)
    elif plan.memory_bytes is not None:
        chosen = plan_mixed(program, source.inputs, plan.memory_bytes, progress=progress)
    else:
        raise QuantizationError("mixed needs --edge-memory, such as 2MiB, or --bits, such as conv4=4,conv*=6")
    write_mixed(program, chosen, source.folder / folder)
    write_json_atomically(source.folder / folder / PLAN, plan_json(chosen, paths, source.stages, plan.memory_bytes))
    files = {"model": f"{folder}/{MODEL}", "packed": f"{folder}/{PACKED}"}
    return [
        source.files("paddle", "any", MIXED, files),
        *_mixed_lite(source, program, chosen, files["packed"], targets),
    ]


def _mixed_lite(
    source: HeadSource, program: FrozenProgram, chosen: MixedPlan, packed: str, targets: Sequence[str]
) -> List[ProgramFiles]:
    """Paddle Lite's: the weights rounded and left out, to be filled in from `packed`; activations as they are."""
    weights = unpack_weights(source.folder / packed)
    rounded = rounded_program(program, chosen)
    with tempfile.TemporaryDirectory() as scratch:
        prefix = Path(scratch) / "model"
        graph = rounded.graph()
        kept = rounded.with_constants([operator.index for operator in graph.operators])
        rounded.save_part(prefix, kept, graph.inputs, graph.outputs)
        heads = []
        for target in targets:
            nb = convert_to_nb(prefix, Path(scratch) / f"{target}.nb", target)
            name = f"{source.prefix}.{target}.{MIXED}.nbz"
            write_bytes_atomically(source.folder / name, pack_nb(nb.read_bytes(), weights))
            heads.append(source.files("lite", target, MIXED, {"packed_nb": name, "packed": packed}))
        return heads


def plan_json(
    chosen: MixedPlan, paths: Mapping[str, str], stages: Mapping[str, str], limit_bytes: Optional[int]
) -> Dict[str, Any]:
    """A plan for people: structural names where there are some, bits, and what was measured."""
    tensors = {tensor: stage for stage, tensor in reversed(list(stages.items()))}
    return {
        "limit_bytes": limit_bytes,
        "memory_bytes": chosen.bits.memory_bytes,
        "error": chosen.error,
        "weight_bits": {path: chosen.bits.bits[name] for name, path in paths.items()},
        "activation_bits": {tensors.get(name, name): grid.bits for name, grid in chosen.grids.items()},
    }


def _lite_heads(source: HeadSource, prefix: Path, precision: str, targets: Sequence[str]) -> List[ProgramFiles]:
    heads = []
    for target in targets:
        nb = f"{source.prefix}.{target}.{precision}.nb"
        convert_to_nb(prefix, source.folder / nb, target, precision)
        heads.append(source.files("lite", target, precision, {"nb": nb}))
    return heads
