"""`ppsplit eval-infer`: what a split costs, in one table."""

from __future__ import annotations

import datetime
import platform
from pathlib import Path
from typing import Optional, Sequence

from ppsplit.bundle import Bundle
from ppsplit.cli.options import Names
from ppsplit.cli.progress import row_progress
from ppsplit.cli.tables import print_table
from ppsplit.data.coco import CocoSet
from ppsplit.evaluate.plot import plot_ap_against_bytes
from ppsplit.evaluate.split_table import split_table

# What fits a screen; the JSON holds all.
COLUMNS = (
    *("name", "edge_macs_share", "ap", "ap50", "payload_bytes", "payload_bytes_p95", "head_ms", "encode_ms"),
    *("network_ms", "tail_ms", "decode_ms", "total_ms", "edge_peak_rss_mib"),
)


def eval_infer(
    data: Path,
    images: Path,
    bundle: Path = Path("freezed/yolov3_tiny-split"),
    rows: Names = [],  # noqa: B006  only read
    limit: Optional[int] = None,
    threads: int = 1,
    json: Path = Path("output/eval.json"),
    plot: Path = Path("output/eval.png"),
) -> None:
    """Measure AP, bytes, milliseconds and memory of every way a photo can go, over real processes and sockets.

    Args:
        data: Annotations in COCO's format.
        images: The folder with their images.
        bundle: The bundle to measure.
        rows: Only these rows, by name or the beginning of it, such as split or jpeg/q75.
        limit: Only so many images.
        threads: Threads of each half's runtime.
        json: Where to write the table.
        plot: Where to draw AP against bytes.
    """
    measure(bundle, CocoSet.open(data, images), rows, limit, threads, json, plot)


def measure(
    bundle: Path,
    coco_set: CocoSet,
    rows: Sequence[str],
    limit: Optional[int],
    threads: int,
    json: Path,
    plot: Path,
    command: str = "",
) -> None:
    """Measure, print, write and draw the table; `command` is noted as what made it."""
    opened = Bundle.open(bundle)
    coco_set = coco_set.first(limit) if limit is not None else coco_set
    with row_progress() as progress:
        results = split_table(opened, coco_set, rows, threads, progress)
    about = {
        "command": command or "ppsplit eval-infer",
        "model": opened.manifest.model,
        "images": len(coco_set.images),
        "cpu": cpu_name(),
        "threads": threads,
        "date": datetime.date.today().isoformat(),
    }
    title = f"{opened.manifest.model} on {len(coco_set.images)} images"
    print_table(results, COLUMNS, title=title, json_path=json, about=about)
    plot_ap_against_bytes(results, plot)
    print(f"table {json}, plot {plot}")


def cpu_name() -> str:
    """The CPU's name, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
