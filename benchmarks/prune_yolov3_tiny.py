"""The README's pruning table: yolov3-tiny pruned by each criterion, and for the edge, beside the unpruned network.

Run it as `python benchmarks/prune_yolov3_tiny.py --help`. Killed, it goes on where it was when it is run again.
"""

from __future__ import annotations

import datetime
import json as json_module
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ppsplit.cli import run_script  # noqa: E402
from ppsplit.cli.eval_infer import cpu_name  # noqa: E402
from ppsplit.cli.options import Names  # noqa: E402
from ppsplit.cli.progress import row_progress  # noqa: E402
from ppsplit.cli.tables import plain, print_table  # noqa: E402
from ppsplit.cli.train_prune import prune_with  # noqa: E402
from ppsplit.data.coco import CocoSet  # noqa: E402
from ppsplit.data.layout import find_split  # noqa: E402
from ppsplit.errors import ConfigError, DataError  # noqa: E402
from ppsplit.evaluate.pruned import Comparison, Contender, pruned_table  # noqa: E402
from ppsplit.evaluate.pruned_plot import plot_ap_against_macs  # noqa: E402
from ppsplit.export.network import find_weights  # noqa: E402
from ppsplit.files import sha256_of  # noqa: E402
from ppsplit.image import list_images  # noqa: E402
from ppsplit.models import model_family  # noqa: E402
from ppsplit.models.checkpoint import save_checkpoint  # noqa: E402
from ppsplit.models.weights import load_network  # noqa: E402
from ppsplit.prune.config import PruneConfig  # noqa: E402
from ppsplit.prune.folder import MODEL, STEPS  # noqa: E402
from ppsplit.train.log import read_log  # noqa: E402

COMMAND = "python benchmarks/prune_yolov3_tiny.py --data ROOT --images PHOTOS"
RESULTS = ROOT / "benchmarks" / "results"
NETWORK, UNPRUNED = "yolov3_tiny", "unpruned"
# Learning at smaller sizes, too, shows more photos in the same time; the edge row learns the largest maps as well.
_WHOLE = {"target": "whole", "target_flops": "-40%", "input_sizes": (288, 352, 416)}
ROWS: Dict[str, Dict[str, Any]] = {
    "l1": {"criterion": "l1", **_WHOLE},
    "fpgm": {"criterion": "fpgm", **_WHOLE},
    "bn": {"criterion": "bn", **_WHOLE},
    "edge": {
        "criterion": "fpgm",
        "target": "edge",
        "target_flops": "-40%",
        "target_payload": "-40%",
        "input_sizes": (256, 320, 416),
    },
}
# What fits a screen, as two tables; the JSON holds all.
ACCURACY = (
    *("name", "ap_untuned", "ap", "ap50", "ap_relative_loss", "ap_points", "ap_points_low", "ap_points_high"),
    *("tune_images", "tune_minutes"),
)
COSTS = (
    *("name", "macs_ratio", "edge_macs_ratio", "parameters_ratio", "program_bytes", "checkpoint_bytes"),
    *("payload_bytes", "head_paddle_ms", "head_paddle_ratio", "head_lite_ms", "head_lite_ratio"),
)


def prune_yolov3_tiny(
    data: Path,
    images: Path,
    val_split: str = "",
    output: Path = ROOT / "output" / "prune",
    tune_images: int = 20000,
    rows: Names = ["l1", "fpgm", "bn", "edge"],  # noqa: B006  only read
    evaluate_only: bool = False,
    weights: Optional[Path] = None,
    calibration_count: int = 128,
    limit: Optional[int] = None,
    resamples: int = 500,
    rounds: int = 10,
    json: Path = RESULTS / "yolov3_tiny_prune.json",
    plot: Path = RESULTS / "yolov3_tiny_prune.png",
) -> None:
    """Prune yolov3-tiny in every way, fine-tune, and measure what came out.

    Args:
        data: Folder of the labelled set to report on; nothing is chosen or learnt by it.
        images: Folder of other photos, without labels, to learn from; the codec's ranges are from them, too.
        val_split: Split of the labelled set, "val2017" in COCO's own layout; by default the folder is the split.
        output: Folder with a folder for each row; what is whole there is not made again.
        tune_images: Images learnt from in each row, each repetition counted.
        rows: Which to make, of l1, fpgm, bn and edge.
        evaluate_only: Prune nothing; measure the rows that are there.
        weights: Weight file to prune; by default the zoo's, fetched if need be.
        calibration_count: How many photos the codec's ranges are from.
        limit: Evaluate only so many images.
        resamples: Draws of the bootstrap.
        rounds: Of the time measurement.
        json: Where to write the table.
        plot: Where to draw AP against MACs.
    """
    _check_counts(calibration_count=calibration_count, limit=limit)
    unknown = [row for row in rows if row not in ROWS]
    if unknown:
        raise ConfigError(f"there is no row {unknown[0]!r}; choose from {', '.join(ROWS)}")
    coco_set = CocoSet.open(*find_split(data, val_split))
    photos = list_images(images)
    cut = model_family(NETWORK).default_cut
    comparison = Comparison(cut, tuple(photos[:calibration_count]), resamples, rounds)  # what it refuses is told early
    _check_apart(coco_set, photos)
    weights = find_weights(NETWORK, weights)
    if not evaluate_only:
        for row in rows:
            print(f"row {row}")
            config = PruneConfig(
                model=NETWORK,
                weights=weights,
                output=output / row,
                resume=True,
                images=images,
                tune_images=tune_images,
                **ROWS[row],
            )
            prune_with(config)
    contenders = [_unpruned(weights, output / UNPRUNED)]
    for row in rows:
        if (output / row / MODEL).is_file():
            contenders.append(_pruned(row, output / row, weights))
        else:
            print(f"row {row} is left out: no {output / row / MODEL} yet")
    coco_set = coco_set if limit is None else coco_set.first(limit)
    with row_progress() as progress:
        table = pruned_table(contenders, coco_set, comparison, progress)
    about = {
        "command": COMMAND,
        "model": NETWORK,
        "cut": cut,
        "images": len(coco_set.images),
        "resamples": resamples,
        "rounds": rounds,
        "cpu": cpu_name(),
        "threads": comparison.threads,
        "date": datetime.date.today().isoformat(),
    }
    title = f"{NETWORK} pruned, on {len(coco_set.images)} images"
    print_table(table, ACCURACY, title=title, json_path=json, about=about)
    print_table(table, COSTS, title=f"what it costs, cut after {cut}")
    plot_ap_against_macs(table, plot)
    print(f"table {json}, plot {plot}")


def _check_counts(**counts: Optional[int]) -> None:
    """Raise ConfigError where one that is given is below 1."""
    wrong = [f"--{name.replace('_', '-')} {count}" for name, count in counts.items() if count is not None and count < 1]
    if wrong:
        raise ConfigError(f"{', '.join(wrong)}: at least 1 is needed")


def _check_apart(coco_set: CocoSet, photos: List[Path]) -> None:
    """Raise DataError where a photo to learn from is one to report on."""
    reported = {image.path.name: image.path for image in coco_set.images}
    for photo in photos:
        if photo.name in reported and sha256_of(photo) == sha256_of(reported[photo.name]):
            raise DataError(f"{photo} is also an image of {coco_set.annotations}; learn from others with --images")


def _unpruned(weights: Path, folder: Path) -> Contender:
    """The whole network, in a checkpoint as the others are."""
    network, preprocess = load_network(NETWORK, weights)
    save_checkpoint(network, folder / MODEL, preprocess)
    return Contender(UNPRUNED, folder / MODEL, folder / "bundle")


def _pruned(row: str, folder: Path, weights: Path) -> Contender:
    """What `Pruning` left in a folder, and how it was made; raises ConfigError where that is not what the row says."""
    file = folder / STEPS
    try:
        identity = json_module.loads(file.read_text(encoding="utf-8"))["identity"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{file} does not say how {folder / MODEL} was made ({error!r}); prune again") from error
    expected = {**plain(ROWS[row]), "ratios": [], "steps": 1, "weights_sha256": sha256_of(weights)}
    wrong = [f"{key} {identity.get(key)}" for key, value in expected.items() if identity.get(key) != value]
    if identity.get("cut") not in (None, model_family(NETWORK).default_cut):
        wrong.append(f"cut {identity['cut']}")
    if wrong:
        raise ConfigError(f"{folder} is a pruning of other settings ({', '.join(wrong)}); give another --output")
    about = {key: identity[key] for key in ("criterion", "target", "divisor", "lr", "input_sizes", "tune_images")}
    minutes = _tune_minutes(folder, identity["batch"])
    about.update(tune_photos=len(identity["images"]), tune_minutes=minutes)
    return Contender(row, folder / MODEL, folder / "bundle", folder / "step1" / "untuned.npz", about)


def _tune_minutes(folder: Path, batch: int) -> float:
    """Minutes of learning, summed over runs that were killed and resumed; by the speed where no time was noted."""
    total = 0.0
    for row in read_log(folder / "step1" / "steps.csv"):
        noted = row.get("seconds")  # older logs lack it
        total += float(noted) if noted else batch / max(float(row["images_per_s"]), 1e-9)
    return round(total / 60, 2)


if __name__ == "__main__":
    sys.exit(run_script(prune_yolov3_tiny, sys.argv[1:], Path(__file__).name))
