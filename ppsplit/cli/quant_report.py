"""`ppsplit quant-report`: what quantization really does to a bundle's edge half."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from ppsplit.bundle import Bundle
from ppsplit.cli.eval_infer import cpu_name
from ppsplit.cli.options import Names
from ppsplit.cli.progress import row_progress
from ppsplit.cli.tables import cell, plain, print_table
from ppsplit.data.coco import CocoSet
from ppsplit.data.layout import find_split
from ppsplit.data.sample_photos import sample_photos
from ppsplit.errors import ConfigError
from ppsplit.evaluate.quant_page import quant_page
from ppsplit.evaluate.quant_report import QuantRequest, quant_report
from ppsplit.evaluate.quant_subjects import subjects_of
from ppsplit.export.calibration import calibration_inputs
from ppsplit.files import write_bytes_atomically, write_json_atomically
from ppsplit.image import read_image, to_input
from ppsplit.runtime.threads import check_threads

# What fits a screen; the JSON and the page hold all.
HEAD_COLUMNS = (
    *("name", "bytes", "packed_bytes", "bytes_ratio", "matrix_work", "head_ms", "head_ratio", "head_mib"),
    *("output_error", "ap", "ap50", "ap_points", "ap_points_low", "ap_points_high"),
)
LAYER_COLUMNS = (
    *("precision", "blame_rank", "layer", "weight_bits", "weight_scale", "activation_bits", "activation_scale"),
    *("activation_clip", "sqnr_db", "error_recovered", "error_recovered_share", "ap_points_recovered"),
)


def report(
    bundle: Path,
    /,
    cut: Names = [],  # noqa: B006  only read
    calibration_images: Optional[Path] = None,
    calibration_count: int = 8,
    root: Optional[Path] = None,
    val_split: str = "val",
    limit: Optional[int] = None,
    blame_images: int = 0,
    resamples: int = 500,
    rounds: int = 5,
    threads: int = 1,
    json: Path = Path("output/quant.json"),
    html: Path = Path("output/quant.html"),
) -> None:
    """Say which layer quantization costs most, which kernels run, and what it does to bytes, time, memory and AP.

    Args:
        bundle: The bundle to look at.
        cut: Only these cuts; by default all that have something to compute on the edge.
        calibration_images: Folder of photos for the layers' errors and the milliseconds; by default the packaged ones.
        calibration_count: How many of them to use.
        root: Folder of a labelled set in COCO's format, for AP; by default AP is not measured.
        val_split: Its split to measure on.
        limit: Only so many of its images.
        blame_images: So many of its images for the AP that each layer put back recovers; 0 for none. It takes long.
        resamples: Draws of the bootstrap over images.
        rounds: How often each photo goes through each head for the milliseconds.
        threads: Threads of each head when it is timed.
        json: Where to write the figures.
        html: Where to write the page, which has the pictures inside.
    """
    _check_counts(blame_images, resamples, rounds)
    check_threads(threads)
    opened = Bundle.open(bundle)
    if blame_images and root is None:
        raise ConfigError("--blame-images needs objects to find; give a labelled set with --root")
    if limit is not None and root is None:
        raise ConfigError("--limit is of a labelled set's images; give the set with --root")
    coco_set = None if root is None else CocoSet.open(*find_split(root, val_split))
    coco_set = coco_set.first(limit) if coco_set is not None and limit is not None else coco_set
    inputs = _inputs(opened, calibration_images, calibration_count)
    request = QuantRequest(inputs, coco_set, blame_images, resamples, rounds, threads)
    write_report(opened, cut, request, json, html)


def write_report(
    bundle: Bundle,
    cuts: Sequence[str],
    request: QuantRequest,
    json: Path,
    html: Path,
    command: str = "ppsplit quant-report",
) -> List[Dict[str, Any]]:
    """Measure, print and write the report of a bundle's cuts; returns one dict a cut (`evaluate.quant_report`).

    Args:
        command: noted as what made it.

    Raises:
        ConfigError, BundleError: it could not be written, or a cut not be measured; before any of it is.
        PPSplitError: as `quant_report`.
    """
    names = list(cuts) or [c.name for c in bundle.manifest.cuts if c.edge_macs_share > 0]
    _check_outputs(json, html)
    for name in names:
        subjects_of(bundle, name)
    with row_progress() as progress:
        reports = [quant_report(bundle, name, request, progress) for name in names]
    about = {
        "command": command,
        "model": bundle.manifest.model,
        "bundle": bundle.manifest.name,
        "fingerprint": bundle.manifest.fingerprint[:12],
        "calibration_images": len(request.inputs),
        "images": len(request.labelled.images) if request.labelled is not None else 0,
        "cpu": cpu_name(),
        "threads": request.threads,
        "date": datetime.date.today().isoformat(),
    }
    for found in reports:
        print_table(found["heads"], HEAD_COLUMNS, title=f"heads of cut {found['cut']}")
        print_table(found["layers"], LAYER_COLUMNS, title=f"layers of cut {found['cut']}")
        print("\n".join(found["findings"]), end="\n\n")
    write_json_atomically(json, {"about": plain(about), "cuts": plain(reports)})
    write_bytes_atomically(html, quant_page(about, reports, cell).encode("utf-8"))
    print(f"figures {json}, page {html}")
    return reports


def _check_counts(blame_images: int, resamples: int, rounds: int) -> None:
    for option, count, least in (("blame-images", blame_images, 0), ("resamples", resamples, 1), ("rounds", rounds, 1)):
        if count < least:
            raise ConfigError(f"--{option} is {count}; expected at least {least}")


def _check_outputs(json: Path, html: Path) -> None:
    """Raise ConfigError for places that would be refused, or overwritten, once all has been measured."""
    if json.resolve() == html.resolve():
        raise ConfigError(f"--json and --html are both {json}; give each a file of its own")
    for option, path in (("json", json), ("html", html)):
        if path.is_dir():
            raise ConfigError(f"--{option} {path} is a folder; give a file")


def _inputs(bundle: Bundle, folder: Optional[Path], count: int) -> List[Any]:
    preprocess = bundle.manifest.preprocess
    if folder is not None:
        return calibration_inputs(folder, count, preprocess)
    if count < 1:
        raise ConfigError(f"at least one image is needed, not {count}")
    return [to_input(read_image(path), preprocess)[0] for path in sample_photos()[:count]]
