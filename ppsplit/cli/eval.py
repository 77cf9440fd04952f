"""`ppsplit eval`: AP of weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Optional

from ppsplit.cli.progress import row_progress
from ppsplit.cli.tables import print_table
from ppsplit.data.coco import CocoSet
from ppsplit.data.layout import find_split
from ppsplit.errors import ConfigError
from ppsplit.export.network import find_weights
from ppsplit.models.weights import load_network
from ppsplit.train.average_precision import network_ap


def evaluate(
    model: str = "yolov3_tiny",
    weights: Optional[Path] = None,
    root: Path = Path("dataset/shapes"),
    split: str = "val",
    size: Optional[int] = None,
    batch: int = 8,
    limit: Optional[int] = None,
    json: Optional[Path] = None,
) -> None:
    """Measure the AP of weights on a set in COCO's format.

    Args:
        model: The network, such as yolov3_tiny, yolov3_darknet53, yolo11n or yolov8n-seg.
        weights: A checkpoint of `ppsplit train` or any weight file; by default the zoo's, fetched if need be.
        root: Folder of the data set.
        split: Its split to measure on.
        size: Input side in pixels; by default the one the weights are for.
        batch: Images at a time.
        limit: Only so many images.
        json: Write the table there too.
    """
    coco_set = CocoSet.open(*find_split(root, split))
    coco_set = coco_set.first(limit) if limit else coco_set
    found = find_weights(model, weights)
    network, preprocess = load_network(model, found)
    side = size or preprocess.input_hw[0]
    if side < 1 or side % max(network.params.strides):
        raise ConfigError(f"size must be a multiple of {max(network.params.strides)}, not {side}")
    if size is not None:
        preprocess = dataclasses.replace(preprocess, input_hw=(side, side))
    with row_progress() as progress:
        precision = network_ap(
            network,
            coco_set,
            preprocess,
            batch,
            progress=lambda done, total: progress("images", done, total),
        )
    row = {"weights": found, "set": coco_set.annotations, "input_hw": preprocess.input_hw, **precision}
    print_table([row], title=f"{model} on {len(coco_set.images)} images", json_path=json)
