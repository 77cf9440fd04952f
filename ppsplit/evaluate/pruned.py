"""Pruned networks beside the one they were made from: AP with its uncertainty, work, bytes and milliseconds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ppsplit.bundle import HEAD, Bundle
from ppsplit.data.coco import CocoSet
from ppsplit.data.sample_photos import sample_photos
from ppsplit.detections import Detections
from ppsplit.edge.client import EdgeClient
from ppsplit.edge.head import Head
from ppsplit.errors import ConfigError
from ppsplit.evaluate.latency import head_times, median_ratio
from ppsplit.export.freeze import FrozenModel
from ppsplit.export.graph import resolve_cut
from ppsplit.export.network import freeze_model
from ppsplit.export.split import SplitPlan, export_bundle
from ppsplit.image import read_image, to_input
from ppsplit.metrics.bootstrap import ap_difference
from ppsplit.metrics.coco_ap import coco_box_ap
from ppsplit.models.checkpoint import read_checkpoint
from ppsplit.runtime import native_target
from ppsplit.train.average_precision import network_detections

POINTS = 100  # AP is told in hundredths
ENCODING = "uint8"
RUNTIMES = ("paddle", "lite")
CERTIFY_IMAGES = 2
Progress = Callable[[str, int, int], None]
Found = Dict[int, Detections]


@dataclass(frozen=True)
class Contender:
    """A network for the table.

    Attributes:
        name: of its row.
        weights: a checkpoint of this project.
        bundle: the folder that its bundle is written to.
        untuned: a checkpoint of it before fine-tuning; None where there was none.
        about: more columns.
    """

    name: str
    weights: Path
    bundle: Path
    untuned: Optional[Path] = None
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """How to compare.

    Attributes:
        cut: where the edge ends.
        calibration_images: photos for the codec's ranges.
        resamples: draws of the bootstrap.
        rounds: of the time measurement.
        timed_images: so many of the set's images are timed.
        threads: of the heads.

    Raises:
        ConfigError: a number below 1, or no calibration image.
    """

    cut: str
    calibration_images: Tuple[Path, ...]
    resamples: int = 500
    rounds: int = 10
    timed_images: int = 10
    threads: int = 1

    def __post_init__(self) -> None:
        counts = ("resamples", "rounds", "timed_images", "threads")
        wrong = [f"{name} {getattr(self, name)}" for name in counts if getattr(self, name) < 1]
        if wrong:
            raise ConfigError(f"{', '.join(wrong)}: at least 1 is needed")
        if not self.calibration_images:
            raise ConfigError("there is no photo for the codec's ranges; give at least 1")


def pruned_table(
    contenders: Sequence[Contender], coco_set: CocoSet, comparison: Comparison, progress: Progress
) -> List[Dict[str, Any]]:
    """Export and measure all of them.

    Args:
        contenders: the unpruned network first; all of one family, with the same input.
        progress: called with a row's name, its number and how many there are, before it is measured.

    Returns:
        a row each: its `about`; ap, ap50, ap_untuned; ap_relative_loss, and ap_points, the difference from the
        first row, with ap_points_low and ap_points_high (95 % bootstrap interval over images); macs, edge_macs,
        parameters (batch normalisation folded); program_bytes (.pdmodel and .pdiparams of the whole), nb_bytes (the
        head's), checkpoint_bytes; payload_bytes (mean of a whole frame, uint8 codec); head_paddle_ms, head_lite_ms
        (medians). "..._ratio" is to the first row.

    Raises:
        DataError: the set has no objects.
        PPSplitError: a network cannot be read, exported or run.
    """
    rows: List[Dict[str, Any]] = []
    bundles: Dict[str, Bundle] = {}
    whole: Found = {}
    for number, contender in enumerate(contenders, 1):
        progress(contender.name, number, len(contenders) + 1)
        frozen = freeze_model(read_checkpoint(contender.weights).model, contender.weights)
        bundle = _exported(frozen, contender.bundle, comparison)
        found = _found(contender.weights, coco_set)
        whole = whole or found
        bundles[contender.name] = bundle
        rows.append(
            {
                "name": contender.name,
                **contender.about,
                **_accuracy(found, whole, contender, coco_set, comparison.resamples),
                **_work(frozen, comparison.cut),
                **_sizes(bundle, contender.weights),
                "payload_bytes": _payload_bytes(bundle, coco_set, comparison.threads),
            }
        )
    progress("milliseconds", len(contenders) + 1, len(contenders) + 1)
    times = _times(bundles, coco_set, comparison)
    return [{**row, **_ratios(row, rows[0]), **times[row["name"]]} for row in rows]


def _exported(frozen: FrozenModel, folder: Path, comparison: Comparison) -> Bundle:
    certify = tuple(sample_photos()[:CERTIFY_IMAGES])
    plan = SplitPlan((comparison.cut,), (), (native_target(),), False, comparison.calibration_images, certify)
    return export_bundle(frozen, plan, folder, lambda step: None)


def _found(weights: Path, coco_set: CocoSet) -> Found:
    checkpoint = read_checkpoint(weights)
    return network_detections(checkpoint.build(), coco_set, checkpoint.preprocess)


def _accuracy(found: Found, whole: Found, contender: Contender, coco_set: CocoSet, resamples: int) -> Dict[str, Any]:
    precision = coco_box_ap(coco_set, found)
    row = {"ap": precision["ap"], "ap50": precision["ap50"]}
    if contender.untuned is not None:
        row["ap_untuned"] = coco_box_ap(coco_set, _found(contender.untuned, coco_set))["ap"]
    if found is not whole:
        difference = ap_difference(coco_set, whole, found, resamples)
        row["ap_relative_loss"] = -difference.difference / max(difference.ap_before, 1e-9)
        row["ap_points"] = difference.difference * POINTS
        row.update({f"ap_points_{end}": asdict(difference)[end] * POINTS for end in ("low", "high")})
    return {name: round(value, 4) for name, value in row.items()}


def _work(frozen: FrozenModel, cut: str) -> Dict[str, int]:
    graph = frozen.program.graph()
    edge = resolve_cut(graph, cut, frozen.stages).edge
    parameters = sum(graph.parameter_elements.values())
    return {"macs": graph.macs, "edge_macs": sum(operator.macs for operator in edge), "parameters": parameters}


def _sizes(bundle: Bundle, weights: Path) -> Dict[str, int]:
    manifest = bundle.manifest
    nb = [program for program in manifest.cuts[0].programs if (program.part, program.runtime) == (HEAD, "lite")]
    return {
        "program_bytes": sum(bundle.path(file).stat().st_size for file in manifest.full[0].files.values()),
        "nb_bytes": bundle.path(nb[0].files["nb"]).stat().st_size,
        "checkpoint_bytes": weights.stat().st_size,
    }


def _payload_bytes(bundle: Bundle, coco_set: CocoSet, threads: int) -> int:
    """Of a request, mean over the images; a frame is made as for sending, and counted."""
    client = EdgeClient(Head(bundle, bundle.cut(), "paddle", "fp32", threads=threads), None, ENCODING)
    frames = [client.make_frame([read_image(image.path)])[0] for image in coco_set.images]
    return round(float(np.mean([len(frame) for frame in frames])))


def _times(bundles: Mapping[str, Bundle], coco_set: CocoSet, comparison: Comparison) -> Dict[str, Dict[str, float]]:
    first = next(iter(bundles))
    preprocess = bundles[first].manifest.preprocess
    photos = coco_set.images[: comparison.timed_images]
    inputs = [to_input(read_image(photo.path), preprocess)[0] for photo in photos]
    times = head_times(bundles, RUNTIMES, inputs, comparison.rounds, comparison.threads)
    rows: Dict[str, Dict[str, float]] = {name: {} for name in bundles}
    for (name, runtime), values in times.items():
        rows[name][f"head_{runtime}_ms"] = round(float(np.median(values)), 2)
        rows[name][f"head_{runtime}_ratio"] = round(median_ratio(values, times[first, runtime]), 4)
    return rows


def _ratios(row: Mapping[str, Any], whole: Mapping[str, Any]) -> Dict[str, float]:
    columns = (("macs",) * 2, ("edge_macs",) * 2, ("parameters",) * 2, ("payload_bytes", "payload"))
    return {f"{short}_ratio": round(row[name] / whole[name], 4) for name, short in columns}
