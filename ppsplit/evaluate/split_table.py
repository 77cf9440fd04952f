"""One table over a COCO-format set: the whole model, every split, and the two rivals that could win without us."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from ppsplit.bundle import HEAD, Bundle
from ppsplit.data.coco import CocoSet
from ppsplit.detections import Detections
from ppsplit.errors import ConversionError, DataError
from ppsplit.evaluate.processes import run_edge, run_whole_model, running_server
from ppsplit.evaluate.rows import EDGE_ONLY_ROW, FULL_ROW, Row, edge_only_row, planned_rows, select
from ppsplit.evaluate.whole import unsplit_bundle
from ppsplit.export.freeze import FrozenModel
from ppsplit.export.program import FrozenProgram
from ppsplit.metrics.coco_ap import coco_ap
from ppsplit.runtime import native_target

# COCO counts the 100 best detections of an image, however unsure.
AP_ARGUMENTS = ("--score-threshold", "0.001", "--max-detections", "100")
Progress = Callable[[str, int, int], None]
Measure = Callable[[Bundle, Path, Sequence[str], int, Sequence[str], Progress], Iterator[Tuple[Row, Dict[str, Any]]]]


def split_table(
    bundle: Bundle,
    coco_set: CocoSet,
    wanted: Sequence[str],
    threads: int,
    progress: Progress,
    measure: Optional[Measure] = None,
) -> List[Dict[str, Any]]:
    """Measure every row over real processes and sockets.

    Args:
        wanted: names of rows, or their beginnings; all when empty.
        threads: for each half's runtime.
        progress: called with a row's name, its number and how many there are, before it is measured.
        measure: in place of `measured`, such as one that deals the images out to many machines.

    Returns:
        rows: name, cut, edge_macs_share, runtime, precision, encoding, ap, ap50, where there are masks
        mask_ap and mask_ap50, payload_bytes (mean over images), payload_bytes_p95, median milliseconds of each stage,
        edge_peak_rss_mib, images.

    Raises:
        DataError: the set's categories are not the model's classes.
        PPSplitError: a half failed.
    """
    check_classes(bundle, coco_set)
    with _staged_images(coco_set) as folder:
        reports = (measure or measured)(bundle, folder, wanted, threads, AP_ARGUMENTS, progress)
        return [{**measured_row(row, report), **_accuracy(row, report, coco_set)} for row, report in reports]


def measured(
    bundle: Bundle, folder: Path, wanted: Sequence[str], threads: int, options: Sequence[str], progress: Progress
) -> Iterator[Tuple[Row, Dict[str, Any]]]:
    """Send the images of `folder` every wanted way; yields each row with its client's report.

    Args:
        options: more arguments for every row's client.
    """
    whole = Row(FULL_ROW, "none", 1.0, "paddle", "fp32", "", ())
    with _edge_only_bundle(bundle) as local, running_server(bundle.root, threads) as url:
        local_runtime = [p.runtime for p in local.manifest.cuts[0].programs if p.part == HEAD][-1]
        rows = select([whole, *planned_rows(bundle), edge_only_row(local_runtime)], wanted)
        for number, row in enumerate(rows, 1):
            progress(row.name, number, len(rows))
            arguments = [*row.arguments, *options, "--threads", str(threads)]
            if row.name == FULL_ROW:
                yield row, run_whole_model(bundle.root, folder, arguments)
            elif row.name == EDGE_ONLY_ROW:
                yield row, run_edge(local.root, folder, arguments)
            else:
                yield row, run_edge(bundle.root, folder, [*arguments, "--server", url])


def measured_row(row: Row, report: Dict[str, Any]) -> Dict[str, Any]:
    """What a client's report says of bytes, time and memory, as a row of a table."""
    summary = report["summary"]
    return {
        **{k: v for k, v in dataclasses.asdict(row).items() if k != "arguments"},
        "edge_macs_share": round(row.edge_macs_share, 4),
        "payload_bytes": round(summary["payload_bytes_mean"]),
        "payload_bytes_p95": round(summary["payload_bytes_p95"]),
        **{f"{stage}_ms": round(value, 2) for stage, value in summary["times_ms"].items()},
        "edge_peak_rss_mib": round(summary["peak_rss_bytes"] / 2**20, 1),
        "images": len(report["images"]),
    }


def _accuracy(row: Row, report: Dict[str, Any], coco_set: CocoSet) -> Dict[str, float]:
    ids = {f"{image.image_id}{image.path.suffix}": image.image_id for image in coco_set.images}
    found = {ids[Path(image["image"]).name]: Detections.from_records(image["detections"]) for image in report["images"]}
    if len(found) != len(coco_set.images):
        raise DataError(f"row {row.name}: {len(coco_set.images) - len(found)} images could not be read")
    precision = coco_ap(coco_set, found)
    shown = ("ap", "ap50", "mask_ap", "mask_ap50")  # the last two where there are masks
    return {name: round(precision[name], 4) for name in shown if name in precision}


def check_classes(bundle: Bundle, coco_set: CocoSet) -> None:
    """Raise DataError unless the set's categories are the model's classes, in their order."""
    names = bundle.manifest.class_names
    if len(names) != len(coco_set.category_names):
        raise DataError(
            f"the model knows {len(names)} classes, {coco_set.annotations} has {len(coco_set.category_names)} "
            "categories; evaluate it on the set it was trained for"
        )
    for number, (name, category) in enumerate(zip(names, coco_set.category_names)):
        if name != category:  # class i is counted as category i
            raise DataError(
                f"the model's class {number} is {name!r}, in {coco_set.annotations} it is {category!r}; "
                "the set's categories must be the model's classes, by ascending id in their order"
            )


@contextlib.contextmanager
def _staged_images(coco_set: CocoSet) -> Iterator[Path]:
    """A folder with just the set's images, named by id: the folder they lie in may hold others."""
    with tempfile.TemporaryDirectory() as scratch:
        for image in coco_set.images:
            os.symlink(image.path.resolve(), Path(scratch) / f"{image.image_id}{image.path.suffix}")
        yield Path(scratch)


@contextlib.contextmanager
def _edge_only_bundle(bundle: Bundle) -> Iterator[Bundle]:
    """The same network, all of it for the edge: in Paddle Lite, or in Paddle where Lite is absent or cannot take it."""
    manifest = bundle.manifest
    model, _ = (bundle.path(manifest.full[0].files[role]) for role in ("model", "params"))
    program = FrozenProgram.load(model.with_suffix(""))
    frozen = FrozenModel(manifest.model, program, manifest.preprocess, manifest.decode, manifest.class_names)
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(unsplit_bundle(frozen, native_target()))
        except ConversionError:
            made = stack.enter_context(unsplit_bundle(frozen))
        yield made
