"""The README's table of memory: what a process that runs only the head takes, against one that runs the whole.

The weights are random ones: memory depends on shapes alone. Run it as `python benchmarks/edge_memory.py --help`.
"""

from __future__ import annotations

import datetime
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ppsplit.bundle import HEAD, Bundle  # noqa: E402
from ppsplit.cli import run_script  # noqa: E402
from ppsplit.cli.eval_infer import cpu_name  # noqa: E402
from ppsplit.cli.options import Names  # noqa: E402
from ppsplit.cli.progress import row_progress  # noqa: E402
from ppsplit.cli.tables import print_table, write_table  # noqa: E402
from ppsplit.data.sample_photos import sample_photos  # noqa: E402
from ppsplit.evaluate.benchmark import Half, memory_of  # noqa: E402
from ppsplit.export.network import freeze_model  # noqa: E402
from ppsplit.export.split import SplitPlan, export_bundle  # noqa: E402
from ppsplit.models import build_model, model_family  # noqa: E402
from ppsplit.models.checkpoint import save_checkpoint  # noqa: E402
from ppsplit.paddle_first import paddle  # noqa: E402

COMMAND = "python benchmarks/edge_memory.py"
RESULTS = ROOT / "benchmarks" / "results"
RUNTIMES = ("lite", "onnx")
WHOLE = "output"  # the cut that leaves everything on the edge
# Of families in several sizes, the smallest.
CLASSIFIERS = [
    *("mobilenet_v1", "mobilenet_v2", "mnasnet1_0", "efficientnet_lite0"),
    *("googlenet", "resnet18", "resnet50", "resnext50_32x4d"),
]
DETECTORS = ["yolo11n", "yolov8n", "yolov8n-seg", "yolov3_tiny", "yolov3_spp", "yolov3_darknet53"]


def edge_memory(models: Names = [*CLASSIFIERS, *DETECTORS], json: Path = RESULTS / "edge_memory.json") -> None:  # noqa: B006
    """Measure the peak memory of each network's head at three cuts, and of the whole, on the edge.

    Args:
        models: The networks, at their own input size.
        json: Where to write the table, after each network.
    """
    about = {"command": COMMAND, "cpu": cpu_name(), "threads": 1, "date": datetime.date.today().isoformat()}
    rows: List[Dict[str, Any]] = []
    with row_progress() as progress:
        for number, name in enumerate(models, 1):
            progress(name, number, len(models))
            rows += memory_rows(name)
            write_table(json, rows, about)
    print_table(rows, title="peak memory on the edge", json_path=json, about=about)


def memory_rows(name: str) -> List[Dict[str, Any]]:
    """One row a cut, an early, a middle and a late one, then the whole: peak MiB of a process in each runtime."""
    paddle.seed(0)
    named = model_family(name).reference_cuts
    cuts = (named[0], named[len(named) // 2], named[-1], WHOLE)
    photos = tuple(sample_photos()[:1])
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / "random.npz"
        save_checkpoint(build_model(name, len(model_family(name).class_names)), weights)
        plan = SplitPlan(cuts, (), ("x86",), False, photos, photos, onnx=True)
        bundle = export_bundle(freeze_model(name, weights), plan, Path(scratch) / name, lambda step: None)
        return [_row(bundle, cut) for cut in cuts]


def _row(bundle: Bundle, cut_name: str) -> Dict[str, Any]:
    cut = bundle.cut(cut_name)
    peaks = {r: memory_of(Half(bundle, cut, HEAD), r, "fp32", 1)["peak_mib"] for r in RUNTIMES}
    return {
        "network": bundle.manifest.model,
        "input": "x".join(map(str, bundle.manifest.preprocess.input_hw)),
        "cut": cut_name,
        "edge_macs_share": round(cut.edge_macs_share, 4),
        **{f"{runtime}_peak_mib": peak for runtime, peak in peaks.items()},
    }


if __name__ == "__main__":
    sys.exit(run_script(edge_memory, sys.argv[1:], Path(__file__).name))
