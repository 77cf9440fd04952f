"""The README's results table: yolov3-tiny at its reference cuts, every codec and client, and the rivals.

Run it as `python benchmarks/split_yolov3_tiny.py --help`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Optional

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ppsplit.cli import run_script  # noqa: E402
from ppsplit.cli.eval_infer import measure  # noqa: E402
from ppsplit.cli.export_split import export_split  # noqa: E402
from ppsplit.data.coco import CocoSet  # noqa: E402

COMMAND = "python benchmarks/split_yolov3_tiny.py --data ANNOTATIONS --images DIR --calibration-images DIR"
RESULTS = ROOT / "benchmarks" / "results"
CUTS = ["pool4", "conv7"]  # the default, and the end of the backbone; the third, "edge-only", is in every table


def split_yolov3_tiny(
    data: Path,
    images: Path,
    calibration_images: Path,
    calibration_count: int = 128,
    limit: Optional[int] = None,
    json: Path = RESULTS / "yolov3_tiny_split.json",
    plot: Path = RESULTS / "yolov3_tiny_split.png",
) -> None:
    """Export yolov3-tiny at its reference cuts and measure every way a photo can go.

    Args:
        data: Annotations in COCO's format.
        images: The folder with their images.
        calibration_images: Other photos, for the codec's ranges.
        calibration_count: How many of them to use.
        limit: Evaluate only so many images.
        json: Where to write the table.
        plot: Where to draw AP against bytes.
    """
    bundle = ROOT / "freezed" / "benchmark-yolov3_tiny"
    export_split(
        cut=CUTS,
        quant=["int8", "int16"],
        nb=["x86"],
        calibration_images=calibration_images,
        calibration_count=calibration_count,
        output=bundle,
    )
    measure(bundle, CocoSet.open(data, images), (), limit, 1, json, plot, COMMAND)


if __name__ == "__main__":
    sys.exit(run_script(split_yolov3_tiny, sys.argv[1:], Path(__file__).name))
