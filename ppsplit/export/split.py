"""Frozen model to bundle: cut, quantize, convert, calibrate, certify, and only then put in place."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ppsplit.bundle import FULL, HEAD, TAIL, Bundle, Clip, Cut, Manifest, ProgramFiles, write_manifest
from ppsplit.bundle.precision import WEIGHTS_ONLY
from ppsplit.codec.clip import calibrate_clip
from ppsplit.export.biases import with_vector_biases
from ppsplit.export.calibration import inputs_of
from ppsplit.export.certify import certify
from ppsplit.export.freeze import FrozenModel
from ppsplit.export.graph import Graph, GraphCut, Operator, resolve_cut
from ppsplit.export.heads import HeadSource, QuantPlan, paddle_files, write_heads, write_stages
from ppsplit.export.layers import Rule
from ppsplit.export.lite import convert_to_nb
from ppsplit.export.measure import measured, refuse_integers
from ppsplit.export.staging import named, replaced_folder
from ppsplit.files import sha256_of
from ppsplit.image import read_image, to_input
from ppsplit.runtime import load_program, run_part

CALIBRATED_BITS = (8, 4)
MAX_SAMPLES_PER_TENSOR = 1_000_000
Progress = Callable[[str], None]


@dataclass(frozen=True)
class SplitPlan:
    """What to put into a bundle.

    Attributes:
        cuts: names as `resolve_cut` takes them; the first is the default one.
        quant: precisions of the head beside fp32, of `bundle.precision.QUANTIZED`. The first becomes the default.
        nb_targets: Paddle Lite targets to convert heads for: "x86", "arm". May be empty.
        with_tail: also convert the tail, for an edge that has to finish alone.
        calibration_images: photos from which the clip ranges of the codec and of quantized activations are taken.
        certify_images: photos on which the halves are compared with the whole.
        memory_bytes, bits, clips: as in `heads.QuantPlan`.
        onnx: also write the whole, and head and tail of every cut, as ONNX; in fp32.
    """

    cuts: Tuple[str, ...]
    quant: Tuple[str, ...]
    nb_targets: Tuple[str, ...]
    with_tail: bool
    calibration_images: Tuple[Path, ...]
    certify_images: Tuple[Path, ...]
    memory_bytes: Optional[int] = None
    bits: Tuple[Rule, ...] = ()
    clips: Optional[Mapping[str, float]] = None
    onnx: bool = False


def export_bundle(frozen: FrozenModel, plan: SplitPlan, output: Path, progress: Progress = print) -> Bundle:
    """Write the bundle `output`; an older bundle there is replaced only once the new one is certified.

    Raises:
        CutError: no such cut, or its tensors cannot be sent.
        CalibrationError: the calibration images say nothing.
        QuantizationError: a head cannot be quantized as asked.
        ConversionError: Paddle Lite cannot take a head, or paddle2onnx a part.
        CertificationError: the halves are off; nothing is left behind.
        ConfigError: `output` exists and is not a bundle.
    """
    frozen = dataclasses.replace(frozen, program=with_vector_biases(frozen.program))
    graph = frozen.program.graph()
    cuts = [resolve_cut(graph, name, frozen.stages) for name in plan.cuts]
    for cut in cuts:
        refuse_integers(cut)
    output = named(output)
    with replaced_folder(output) as stage:
        progress("whole network")
        full = _write_whole(frozen, graph, stage)
        written = []
        for index, (name, graph_cut) in enumerate(zip(plan.cuts, cuts)):
            progress(f"cut {name}")
            written.append(_write_cut(frozen, graph, graph_cut, name, index, plan, stage, progress))
        images = [to_input(read_image(path), frozen.preprocess)[0] for path in plan.certify_images]
        if plan.onnx:
            from ppsplit.export.onnx_parts import with_onnx  # of the extra ppsplit[onnx]

            full, written = with_onnx(stage, full, written, [{graph.inputs[0]: image} for image in images], progress)
        manifest = _manifest(frozen, graph, full, written, plan, output.name, stage)
        manifest = measured(Bundle(stage, manifest), images[:2])
        bundle = Bundle(stage, manifest)
        finished = []
        for cut_ in manifest.cuts:
            progress(f"calibrating and certifying {cut_.name}")
            clips = _calibrate(bundle, cut_, plan.calibration_images)
            certificates = certify(bundle, cut_, images)
            finished.append(dataclasses.replace(cut_, clips=clips, certificates=tuple(certificates)))
        write_manifest(stage, dataclasses.replace(manifest, cuts=tuple(finished)))
    return Bundle.open(output)


def _write_whole(frozen: FrozenModel, graph: Graph, stage: Path) -> Tuple[ProgramFiles, ...]:
    _write_part(frozen, graph.operators, graph.inputs, graph.outputs, stage / "full")
    return (ProgramFiles(FULL, "paddle", files=paddle_files("full"), outputs=graph.outputs),)


def _write_part(
    frozen: FrozenModel, operators: Sequence[Operator], feeds: Sequence[str], fetches: Sequence[str], prefix: Path
) -> None:
    kept = frozen.program.with_constants([operator.index for operator in operators])
    frozen.program.save_part(prefix, kept, feeds, fetches)


def _write_cut(
    frozen: FrozenModel,
    graph: Graph,
    cut: GraphCut,
    name: str,
    index: int,
    plan: SplitPlan,
    stage: Path,
    progress: Progress,
) -> Cut:
    folder = f"cut{index}-{re.sub(r'[^A-Za-z0-9.]+', '-', name)[:40]}"
    sent = [spec.name for spec in cut.tensors]
    heads = _write_heads(frozen, graph, cut, folder, plan, stage, progress)
    tails = _write_tails(frozen, graph, cut, sent, folder, plan, stage)
    return Cut(
        name=name,
        tensors=cut.tensors,
        programs=tuple(heads + tails),
        clips={},
        edge_macs_share=cut.edge_macs_share,
        edge_params_share=cut.edge_params_share,
    )


def _write_heads(
    frozen: FrozenModel, graph: Graph, cut: GraphCut, folder: str, plan: SplitPlan, stage: Path, progress: Progress
) -> List[ProgramFiles]:
    computed = [spec.name for spec in cut.tensors if spec.name not in graph.inputs]
    if not computed:
        return [ProgramFiles(HEAD, "passthrough")]
    prefix = f"{folder}/head"
    _write_part(frozen, cut.edge, _fed(cut.edge, graph.inputs), computed, stage / prefix)
    write_stages(stage / folder, frozen.stages, {name for operator in cut.edge for name in operator.outputs})
    source = HeadSource(stage, prefix, tuple(computed), frozen.stages, _calibration_inputs(frozen, plan))
    quant = QuantPlan(plan.quant, plan.memory_bytes, plan.bits, plan.clips)
    return write_heads(source, quant, plan.nb_targets, progress)


def _calibration_inputs(frozen: FrozenModel, plan: SplitPlan) -> List[np.ndarray]:
    """The calibration images as the network takes them, where a precision needs them; else none are read."""
    if all(precision in WEIGHTS_ONLY for precision in plan.quant):
        return []
    return inputs_of(plan.calibration_images, frozen.preprocess)


def _write_tails(
    frozen: FrozenModel, graph: Graph, cut: GraphCut, sent: List[str], folder: str, plan: SplitPlan, stage: Path
) -> List[ProgramFiles]:
    computed = [name for name in graph.outputs if name not in sent]
    if not computed:
        return [ProgramFiles(TAIL, "passthrough")]
    prefix = f"{folder}/tail"
    _write_part(frozen, cut.cloud, _fed(cut.cloud, sent), computed, stage / prefix)
    tails = [ProgramFiles(TAIL, "paddle", files=paddle_files(prefix), outputs=tuple(computed))]
    if plan.with_tail:
        tails += _lite_tails(stage, prefix, plan.nb_targets, computed)
    return tails


def _fed(operators: Sequence[Operator], available: Sequence[str]) -> List[str]:
    """Those of `available` that the operators read; a program may not have a feed nobody reads."""
    read = {name for operator in operators for name in operator.inputs}
    return [name for name in available if name in read]


def _lite_tails(stage: Path, prefix: str, targets: Sequence[str], outputs: Sequence[str]) -> List[ProgramFiles]:
    programs = []
    for target in targets:
        nb = f"{prefix}.{target}.fp32.nb"
        convert_to_nb(stage / prefix, stage / nb, target)
        programs.append(ProgramFiles(TAIL, "lite", target, "fp32", {"nb": nb}, tuple(outputs)))
    return programs


def _manifest(
    frozen: FrozenModel,
    graph: Graph,
    full: Tuple[ProgramFiles, ...],
    cuts: Sequence[Cut],
    plan: SplitPlan,
    name: str,
    stage: Path,
) -> Manifest:
    files = sorted(path for path in stage.rglob("*") if path.is_file())
    return Manifest(
        name=name,
        model=frozen.name,
        input=graph.tensors[graph.inputs[0]],
        outputs=tuple(graph.tensors[output] for output in graph.outputs),
        preprocess=frozen.preprocess,
        decode=frozen.decode,
        class_names=frozen.class_names,
        precision=plan.quant[0] if plan.quant else "fp32",
        weights_sha256=frozen.weights_sha256,
        cuts=tuple(cuts),
        full=full,
        files={path.relative_to(stage).as_posix(): sha256_of(path) for path in files},
    )


def load_input(manifest: Manifest, path: Path) -> np.ndarray:
    """A photo as the network takes it, float32 [1, 3, H, W]. Raises ImageError."""
    return to_input(read_image(path), manifest.preprocess)[0]


def _calibrate(bundle: Bundle, cut: Cut, images: Sequence[Path]) -> Dict[str, Dict[str, Clip]]:
    """Clip ranges of every float tensor that crosses, from the fp32 head's features."""
    head = load_program(bundle, bundle.program(cut, HEAD, "paddle", "fp32"))
    names = [spec.name for spec in cut.tensors if spec.dtype.startswith("float")]
    samples: Dict[str, List[Any]] = {name: [] for name in names}
    stride = {
        spec.name: max(1, spec.elements_per_image * len(images) // MAX_SAMPLES_PER_TENSOR) for spec in cut.tensors
    }
    for path in images:
        feeds = {bundle.manifest.input.name: load_input(bundle.manifest, path)}
        for name, values in run_part(head, feeds, names).items():
            samples[name].append(values.ravel()[:: stride[name]])
    joined = {name: np.concatenate(parts) for name, parts in samples.items()}
    return {
        str(bits): {name: calibrate_clip(values, bits) for name, values in joined.items()} for bits in CALIBRATED_BITS
    }
