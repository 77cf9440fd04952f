"""From weights to boxes on real photos, with the two rivals beside it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

from ppsplit.bundle import Bundle
from ppsplit.data.sample_photos import sample_photos
from ppsplit.edge.job import check_output
from ppsplit.evaluate.processes import run_edge, running_server
from ppsplit.evaluate.split_table import measured, measured_row
from ppsplit.export.network import find_weights, freeze_model
from ppsplit.export.split import SplitPlan, export_bundle
from ppsplit.files import write_json_atomically
from ppsplit.runtime import native_target

MODEL, CUT, PRECISION, ENCODING = "yolov3_tiny", "pool4", "int8", "uint8"
RIVALS = ("jpeg/q75", "edge-only")
ROUNDS = ("--rounds", "5")  # the first is a cold one; times are medians over them
Step = Callable[[str], None]


def run_demo(images: Sequence[Path], output: Path, bundle: Path, step: Step) -> Dict[str, Any]:
    """Export a split int8 detector, serve its second half, run the Paddle Lite client on `images`.

    Args:
        output: gets a drawn picture of each image, and report.json.
        bundle: where the bundle is written.
        step: called with a line for each thing that is being done.

    Returns:
        the report: client, images (detections, bytes, times of each), rows (the split and its two rivals).

    Raises:
        ConfigError: the drawn pictures would replace `images`.
        PPSplitError: a step failed.
    """
    check_output(images, output)
    step(f"weights of {MODEL}")
    weights = find_weights(MODEL, None)
    step(f"exporting {bundle}: cut {CUT}, {PRECISION} client for Paddle Lite")
    photos = tuple(sample_photos())
    plan = SplitPlan((CUT,), (PRECISION,), ("x86", "arm"), False, photos, photos[:2])
    opened = export_bundle(freeze_model(MODEL, weights), plan, bundle, lambda line: step(f"  {line}"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = _gathered(images, Path(scratch))
        step("serving the second half, running the first in Paddle Lite")
        client = _draw(opened, folder, output)
        step("the same photos the two other ways: as JPEG, and all on the edge")
        rows = _rows(opened, folder, step)
    report = {"client": client, "rows": rows}
    write_json_atomically(output / "report.json", report)
    return report


def _gathered(images: Sequence[Path], folder: Path) -> Path:
    for image in images:
        shutil.copyfile(image, folder / image.name)
    return folder


def _draw(bundle: Bundle, folder: Path, output: Path) -> Dict[str, Any]:
    options = ["--runtime", "lite", "--precision", PRECISION, "--encoding", ENCODING, *ROUNDS]
    with running_server(bundle.root) as url:
        return run_edge(bundle.root, folder, [*options, "--server", url], pictures=output)


def _rows(bundle: Bundle, folder: Path, step: Step) -> List[Dict[str, Any]]:
    reports = measured(
        bundle,
        folder,
        (f"nb/{native_target()}-{PRECISION}", *RIVALS),
        1,
        ROUNDS,
        lambda name, number, total: step(f"  {name}"),
    )
    return [measured_row(row, report) for row, report in reports]
