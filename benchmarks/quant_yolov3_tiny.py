"""The README's quantization table: yolov3-tiny at three cuts, every precision, what runs and what it costs.

Run it as `python benchmarks/quant_yolov3_tiny.py --help`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ppsplit.bundle import Bundle  # noqa: E402
from ppsplit.cli import run_script  # noqa: E402
from ppsplit.cli.export_split import export_split  # noqa: E402
from ppsplit.cli.options import Names  # noqa: E402
from ppsplit.cli.quant_report import write_report  # noqa: E402
from ppsplit.cli.tables import print_table  # noqa: E402
from ppsplit.data.coco import CocoSet  # noqa: E402
from ppsplit.data.layout import find_split  # noqa: E402
from ppsplit.evaluate.quant_report import QuantRequest  # noqa: E402
from ppsplit.export.calibration import calibration_inputs  # noqa: E402

COMMAND = "python benchmarks/quant_yolov3_tiny.py --root ROOT --val-split SPLIT --calibration-images DIR"
RESULTS = ROOT / "benchmarks" / "results"
# The default one, the end of the backbone, and in front of the heads' last convolutions.
CUTS = ("pool4", "conv7", "head32_conv+head16_conv")
PRECISIONS = ["int8", "int16", "ptq-kl", "ptq-hist", "ptq-mse", "ptq-aciq", "ptq-lapq", "mixed"]


@dataclass(frozen=True)
class Asked:
    """How many points of AP below fp32, and how many bytes of fp32's, a precision may have at most."""

    precision: str
    points: float
    bytes_ratio: float


ASKED = (Asked("int16", 0.05, 0.52), Asked("int8", 0.3, 0.27), Asked("ptq", 1.0, 1.0), Asked("mixed", 2.0, 0.135))

# Weights alone, about half of int8's bytes: the first layers are small and wrong first, the last hold the bytes.
BITS = ["conv1=8", "conv2=6", "*=4"]


def quant_yolov3_tiny(
    root: Path,
    calibration_images: Path,
    val_split: str = "val",
    calibration_count: int = 32,
    report_count: int = 4,
    cut: Names = list(CUTS),  # noqa: B006  only read
    quant: Names = PRECISIONS,
    limit: Optional[int] = None,
    resamples: int = 200,
    reuse: bool = False,
    json: Path = RESULTS / "yolov3_tiny_quant.json",
    html: Path = ROOT / "output" / "yolov3_tiny_quant.html",
) -> None:
    """Export yolov3-tiny at its cuts in every precision and report on each.

    Args:
        root: Folder of a labelled set in COCO's format.
        calibration_images: Other photos, for every scale and range.
        val_split: The labelled set's split.
        calibration_count: How many photos calibrate.
        report_count: How many of them are for the layers' errors and the milliseconds.
        cut: Where to cut.
        quant: Precisions beside fp32.
        limit: Evaluate only so many images.
        resamples: Draws of the bootstrap.
        reuse: Take the bundle that an earlier run has left.
        json: Where to write the figures.
        html: Where to write the page.
    """
    folder = ROOT / "freezed" / "benchmark-quant-yolov3_tiny"
    if not reuse:
        export_split(
            cut=cut,
            quant=quant,
            bits=BITS if "mixed" in quant else [],
            nb=["x86"],
            calibration_images=calibration_images,
            calibration_count=calibration_count,
            output=folder,
        )
    bundle = Bundle.open(folder)
    coco_set = CocoSet.open(*find_split(root, val_split))
    coco_set = coco_set.first(limit) if limit is not None else coco_set
    inputs = calibration_inputs(calibration_images, report_count, bundle.manifest.preprocess)
    request = QuantRequest(inputs, coco_set, resamples=resamples)
    reports = write_report(bundle, cut, request, json, html, COMMAND)
    print_table([row for report in reports for row in asked_rows(report)], title="asked and reached")


def asked_rows(report: Dict[str, Any]) -> List[Dict[str, Any]]:
    """What is asked of one cut's report, and what it says; AP in points below fp32."""
    rows = []
    for asked in ASKED:
        heads = [h for h in report["heads"] if h["precision"].startswith(asked.precision) and h["runtime"] == "paddle"]
        if heads:
            best = max(heads, key=lambda head: float(head["ap_points"]))
            row = {"cut": report["cut"], "head": best["name"], "points_below": -best["ap_points"]}
            row.update(asked_points=asked.points, bytes_ratio=best["bytes_ratio"], asked_bytes_ratio=asked.bytes_ratio)
            met = row["points_below"] <= asked.points and row["bytes_ratio"] <= asked.bytes_ratio
            rows.append({**row, "reached": met})
    return rows


if __name__ == "__main__":
    sys.exit(run_script(quant_yolov3_tiny, sys.argv[1:], Path(__file__).name))
