"""What the cloud half's arithmetic costs in AP and takes in milliseconds: fp32 against bfloat16, same features.

Run it as `python benchmarks/serve_precision.py --help`.
"""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from ppsplit.bundle import HEAD, Bundle  # noqa: E402
from ppsplit.cli import run_script  # noqa: E402
from ppsplit.cli.eval_infer import cpu_name  # noqa: E402
from ppsplit.cli.progress import row_progress  # noqa: E402
from ppsplit.cli.tables import print_table  # noqa: E402
from ppsplit.cloud.engine import Engine  # noqa: E402
from ppsplit.cloud.programs import EngineOptions  # noqa: E402
from ppsplit.codec import Codec  # noqa: E402
from ppsplit.data.coco import CocoSet  # noqa: E402
from ppsplit.data.layout import find_split  # noqa: E402
from ppsplit.detections import Detections  # noqa: E402
from ppsplit.errors import DataError  # noqa: E402
from ppsplit.image import read_image, to_input  # noqa: E402
from ppsplit.metrics.bootstrap import ap_differences  # noqa: E402
from ppsplit.metrics.coco_ap import coco_ap  # noqa: E402
from ppsplit.runtime import run_part  # noqa: E402
from ppsplit.runtime.choice import load_part  # noqa: E402
from ppsplit.runtime.compute import BF16, FP32, Compute  # noqa: E402
from ppsplit.wire import FeatureMessage, Options, WireTensor  # noqa: E402

COMMAND = "python benchmarks/serve_precision.py --bundle BUNDLE --root LABELLED_SET"
RESULTS = ROOT / "benchmarks" / "results"
OPTIONS = Options(score_threshold=0.001, max_detections=100)  # what COCO counts
RESAMPLES = 1000
POINTS = 100  # AP is told in hundredths
ARITHMETICS = (FP32, BF16)


def serve_precision(
    bundle: Path,
    root: Path,
    val_split: str = "",
    encoding: str = "fp32",
    threads: int = 1,
    limit: Optional[int] = None,
    json: Optional[Path] = None,
) -> None:
    """Run the same features through the cloud half in each arithmetic, image by image in turns.

    Args:
        bundle: The bundle.
        root: Folder of the labelled set to report on, in COCO's format.
        val_split: Its split, "val2017" in COCO's own layout; by default the folder is the split.
        encoding: Of the features on the wire.
        threads: Of the network's runtime.
        limit: Only so many images.
        json: Where to write the table; by default benchmarks/results/MODEL_serve_precision.json.
    """
    opened = Bundle.open(bundle)
    coco_set = CocoSet.open(*find_split(root, val_split))
    coco_set = coco_set if limit is None else coco_set.first(limit)
    engines = {name: Engine(opened, EngineOptions(threads, compute=Compute(name))) for name in ARITHMETICS}
    for engine in engines.values():
        engine.warm_up()
    found, tail_ms = _run(opened, engines, coco_set, encoding)
    for engine in engines.values():
        engine.close()
    rows: List[Dict[str, Any]] = []
    for name in ARITHMETICS:
        precision = coco_ap(coco_set, found[name])
        rows.append({"arithmetic": name, **{key: round(precision[key], 4) for key in ("ap", "ap50")}})
        rows[-1]["tail_ms_median"] = round(float(np.median(tail_ms[name])), 2)
    ratio = float(np.median(np.array(tail_ms[BF16]) / np.array(tail_ms[FP32])))
    difference = ap_differences(coco_set, found[FP32], [found[BF16]], RESAMPLES)[0]
    points = {key: round(getattr(difference, key) * POINTS, 3) for key in ("difference", "low", "high")}
    rows[-1].update({"ap_points_" + key: value for key, value in points.items()}, tail_ms_of_fp32=round(ratio, 3))
    about = {
        "command": COMMAND,
        "model": opened.manifest.model,
        "cut": opened.cut().name,
        "encoding": encoding,
        "images": len(coco_set.images),
        "threads": threads,
        "cpu": cpu_name(),
        "date": datetime.date.today().isoformat(),
    }
    path = json or RESULTS / f"{opened.manifest.model}_serve_precision.json"
    print_table(rows, title=f"{opened.manifest.model}: the cloud half's arithmetic", json_path=path, about=about)
    print(path)


def _run(opened: Bundle, engines: Dict[str, Engine], coco_set: CocoSet, encoding: str) -> Any:
    """Image id to detections, and milliseconds of each tail, by arithmetic."""
    cut = opened.cut()
    head, codec = load_part(opened, cut, HEAD, "paddle"), Codec(opened, cut, encoding)
    found: Dict[str, Dict[int, Detections]] = {name: {} for name in engines}
    tail_ms: Dict[str, List[float]] = {name: [] for name in engines}
    with row_progress() as progress:
        for number, image in enumerate(coco_set.images, 1):
            progress(image.path.name, number, len(coco_set.images))
            tensor, placement = to_input(read_image(image.path), opened.manifest.preprocess)
            features = run_part(head, {opened.manifest.input.name: tensor}, [spec.name for spec in cut.tensors])
            tensors = tuple(WireTensor(*one) for one in codec.encode(features))
            message = FeatureMessage(opened.manifest.fingerprint, cut.name, encoding, tensors, OPTIONS)
            for name, engine in engines.items():
                result = engine.infer(message)
                if result.detections is None:
                    raise DataError("the bundle says no way from its outputs to boxes, so there is no AP")
                found[name][image.image_id] = placement.detections_to_original(result.detections[0])
                tail_ms[name].append(result.times_ms["tail"])
    return found, tail_ms


if __name__ == "__main__":
    sys.exit(run_script(serve_precision, sys.argv[1:], "benchmarks/serve_precision.py"))
