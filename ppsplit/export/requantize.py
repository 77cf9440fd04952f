"""The heads of a bundle in other precisions, without splitting the network again."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np

from ppsplit.bundle import HEAD, Bundle, Cut, ProgramFiles, write_manifest
from ppsplit.bundle.precision import FP32, WEIGHTS_ONLY
from ppsplit.errors import QuantizationError
from ppsplit.export.calibration import inputs_of
from ppsplit.export.certify import certify
from ppsplit.export.heads import STAGES, HeadSource, Progress, QuantPlan, quantized_heads, read_stages
from ppsplit.export.program import MODEL_SUFFIX
from ppsplit.export.simulate import output_error
from ppsplit.export.split import load_input
from ppsplit.export.staging import named, replaced_folder
from ppsplit.files import sha256_of
from ppsplit.runtime import load_program, run_part, runs_here


def quantize_bundle(
    bundle: Bundle,
    plan: QuantPlan,
    targets: Sequence[str],
    calibration_images: Sequence[Path],
    certify_images: Sequence[Path],
    output: Path,
    progress: Progress = print,
) -> Bundle:
    """Write a copy of a bundle whose heads are there in the plan's precisions, too; the first becomes the default.

    Args:
        targets: of Paddle Lite.
        output: may be the bundle itself; it is replaced only once everything is certified.

    Raises:
        BundleError: a file of the bundle is missing or damaged.
        QuantizationError: no cut has a head to quantize, or as `write_heads`.
        CertificationError: as `certify`.
        ConfigError: `output` exists and is no bundle.
    """
    manifest = bundle.manifest
    inputs = []
    if any(precision not in WEIGHTS_ONLY for precision in plan.precisions):
        inputs = inputs_of(calibration_images, manifest.preprocess)
    images = [load_input(manifest, path) for path in certify_images]
    output = named(output)
    with replaced_folder(output) as stage:
        for name in manifest.files:
            (stage / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path(name), stage / name)
        cuts = [_quantized(bundle, cut, stage, plan, targets, inputs, progress) for cut in manifest.cuts]
        if all(cut is old for cut, old in zip(cuts, manifest.cuts)):
            raise QuantizationError(f"no cut of {bundle.root} has a head; there is nothing to quantize")
        files = sorted(path for path in stage.rglob("*") if path.is_file())
        hashes = {path.relative_to(stage).as_posix(): sha256_of(path) for path in files}
        precision = plan.precisions[0]
        manifest = dataclasses.replace(
            manifest, name=output.name, precision=precision, cuts=tuple(cuts), files=hashes, fingerprint=""
        )
        finished = []
        for cut in cuts:
            progress(f"certifying {cut.name}")
            certificates = certify(Bundle(stage, manifest), cut, images)
            finished.append(dataclasses.replace(cut, certificates=tuple(certificates)))
        write_manifest(stage, dataclasses.replace(manifest, cuts=tuple(finished)))
    return Bundle.open(output)


def _quantized(
    bundle: Bundle,
    cut: Cut,
    stage: Path,
    plan: QuantPlan,
    targets: Sequence[str],
    inputs: Sequence[np.ndarray],
    progress: Progress,
) -> Cut:
    """The cut with new heads in `stage`; the same one where it has none."""
    exact = bundle.program(cut, HEAD, "paddle", FP32)
    if exact.runtime == "passthrough":
        return cut
    prefix = exact.files["model"][: -len(MODEL_SUFFIX)]
    stages_file = (Path(prefix).parent / STAGES).as_posix()
    stages = read_stages(bundle.path(stages_file)) if stages_file in bundle.manifest.files else {}
    source = HeadSource(stage, prefix, exact.outputs, stages, inputs)
    made = quantized_heads(source, plan, targets, progress)
    kept = [program for program in cut.programs if program.part != HEAD or program.precision not in plan.precisions]
    _remove_files(stage, [program for program in cut.programs if program not in kept], [*kept, *made])
    return dataclasses.replace(cut, programs=(*kept, *made), certificates=())


def _remove_files(stage: Path, old: Sequence[ProgramFiles], in_use: Sequence[ProgramFiles]) -> None:
    """Files of replaced heads that no head has any more, such as a .nb for a target that was not asked for again."""
    used = {name for program in in_use for name in program.files.values()}
    for name in {name for program in old for name in program.files.values()} - used:
        (stage / name).unlink()


def head_rows(bundle: Bundle, images: Sequence[Path]) -> List[Dict[str, Any]]:
    """Bytes and errors of every head of a bundle.

    Returns:
        rows: cut, runtime, target, precision, disk_bytes, share_of_fp32 (of the fp32 head's bytes for the same
        runtime and target), head_error (squared error over squared norm of what the head returns, against the fp32
        head in Paddle Inference; None for another CPU's), max_relative_error (of the network's outputs, certified).
    """
    inputs = [load_input(bundle.manifest, path) for path in images]
    rows = []
    for cut in bundle.manifest.cuts:
        heads = [program for program in cut.programs if program.part == HEAD and program.files]
        fp32 = {(p.runtime, p.target): disk_bytes(bundle, p) for p in heads if p.precision == FP32}
        exact: List[List[np.ndarray]] = []
        for program in sorted(heads, key=lambda program: program.precision != FP32 or program.runtime != "paddle"):
            found = _features(bundle, program, inputs) if runs_here(program) else []
            exact = exact or found
            size = disk_bytes(bundle, program)
            reference = fp32.get((program.runtime, program.target))
            rows.append(
                {
                    "cut": cut.name,
                    "runtime": program.runtime,
                    "target": program.target,
                    "precision": program.precision,
                    "disk_bytes": size,
                    "share_of_fp32": round(size / reference, 4) if reference else None,
                    "head_error": output_error(found, exact) if found else None,
                    "max_relative_error": _certified_error(cut, program),
                }
            )
    return rows


def disk_bytes(bundle: Bundle, program: ProgramFiles) -> int:
    """What a program's files take on the disk."""
    return sum((bundle.root / name).stat().st_size for name in program.files.values())


def _features(bundle: Bundle, program: ProgramFiles, inputs: Sequence[np.ndarray]) -> List[List[np.ndarray]]:
    head = load_program(bundle, program)
    feed = bundle.manifest.input.name
    return [list(run_part(head, {feed: image}, program.outputs).values()) for image in inputs]


def _certified_error(cut: Cut, program: ProgramFiles) -> Any:
    asked = (program.runtime, program.target, program.precision)
    errors = [c.max_relative_error for c in cut.certificates if (c.runtime, c.target, c.precision) == asked]
    return max(errors) if errors else None
