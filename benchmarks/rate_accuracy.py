"""Bytes against AP and divergence of scores: every encoding of a calibrated bundle, and pictures as the rivals.

Run it as `python benchmarks/rate_accuracy.py --help`.
"""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import List, Optional

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ppsplit.bundle import Bundle  # noqa: E402
from ppsplit.cli import run_script  # noqa: E402
from ppsplit.cli.eval_infer import cpu_name  # noqa: E402
from ppsplit.cli.options import Names  # noqa: E402
from ppsplit.cli.progress import row_progress  # noqa: E402
from ppsplit.cli.tables import print_table  # noqa: E402
from ppsplit.codec import compiled  # noqa: E402
from ppsplit.data.coco import CocoSet  # noqa: E402
from ppsplit.data.layout import find_split  # noqa: E402
from ppsplit.errors import ConfigError  # noqa: E402
from ppsplit.evaluate.rate import planned_ways, rate_table  # noqa: E402
from ppsplit.evaluate.rate_plot import plot_rate  # noqa: E402

COMMAND = "python benchmarks/rate_accuracy.py --bundle BUNDLE --root ROOT"
RESULTS = ROOT / "benchmarks" / "results"
QUALITIES = [30, 38, 44, 50, 56, 64, 76]


def rate_accuracy(
    bundle: Path,
    root: Path,
    val_split: str = "",
    cut: Optional[str] = None,
    qualities: List[int] = QUALITIES,
    ways: Names = [],  # noqa: B006
    limit: Optional[int] = None,
    json: Optional[Path] = None,
    plot: Optional[Path] = None,
) -> None:
    """Measure what every encoding costs in bytes and in accuracy; nothing is chosen by it.

    Args:
        bundle: A calibrated bundle (`ppsplit calibrate`).
        root: Folder of the labelled set to report on, in COCO's format.
        val_split: Its split, "val2017" in COCO's own layout; by default the folder is the split.
        cut: Which cut; by default the bundle's first.
        qualities: Of "feature", beside the one that calibration chose.
        ways: Only these encodings and rivals; by default all.
        limit: Only so many images.
        json: Where to write the table; by default benchmarks/results/MODEL_rate.json.
        plot: Where to draw it; by default beside the table.
    """
    opened = Bundle.open(bundle)
    chosen_cut = opened.cut(cut)
    if chosen_cut.learned is None:
        raise ConfigError(f"cut {chosen_cut.name!r} is not calibrated; run `ppsplit calibrate` on the bundle first")
    planned = planned_ways(opened, chosen_cut, qualities)
    unknown = sorted(set(ways) - {way.name for way in planned})
    if unknown:
        raise ConfigError(f"there is no way {unknown[0]!r}; known: {', '.join(dict.fromkeys(w.name for w in planned))}")
    planned = [way for way in planned if not ways or way.name in ways]
    coco_set = CocoSet.open(*find_split(root, val_split))
    coco_set = coco_set if limit is None else coco_set.first(limit)
    with row_progress() as progress:
        rows = rate_table(opened, chosen_cut, coco_set, planned, progress)
    about = {
        "command": COMMAND,
        "model": opened.manifest.model,
        "cut": chosen_cut.name,
        "chosen_quality": chosen_cut.learned.quality,
        "images": len(coco_set.images),
        "compiled_core": compiled.core() is not None,
        "cpu": cpu_name(),
        "threads": 1,
        "date": datetime.date.today().isoformat(),
    }
    json = json or RESULTS / f"{opened.manifest.model}_rate.json"
    plot = plot or json.with_suffix(".png")
    title = f"{opened.manifest.model} cut after {chosen_cut.name}, on {len(coco_set.images)} images"
    print_table(rows, title=title, json_path=json, about=about)
    plot_rate(rows, plot)
    print(f"table {json}, plot {plot}")


if __name__ == "__main__":
    sys.exit(run_script(rate_accuracy, sys.argv[1:], "benchmarks/rate_accuracy.py"))
