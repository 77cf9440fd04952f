"""`ppsplit eval`: AP of weights; of a classifier's, top-1 and top-5."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Dict, Optional, TypeVar

from ppsplit.cli.progress import row_progress
from ppsplit.cli.tables import print_table
from ppsplit.data.class_folder import ClassFolder
from ppsplit.data.coco import CocoSet
from ppsplit.data.layout import find_split
from ppsplit.decode import CLASSIFY
from ppsplit.errors import ConfigError
from ppsplit.evaluate.network_top_k import network_top_k
from ppsplit.export.network import find_weights
from ppsplit.models import class_names_of, model_family
from ppsplit.models.weights import load_network
from ppsplit.train.average_precision import network_ap

Labelled = TypeVar("Labelled", CocoSet, ClassFolder)


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
    """Measure the AP of weights on a set in COCO's format; of a classifier, top-1 and top-5 on folders of images.

    Args:
        model: The network, such as yolov3_tiny, yolo11n, yolov8n-seg or resnet50.
        weights: A checkpoint of `ppsplit train` or any weight file; by default the zoo's, fetched if need be.
        root: Folder of the data set.
        split: Its split to measure on; for a classifier, a folder with a subfolder of images for each class.
        size: Input side in pixels; by default the one the weights are for.
        batch: Images at a time.
        limit: Only so many images.
        json: Write the table there too.
    """
    is_classifier = model_family(model).decode.family == CLASSIFY
    coco_set = None if is_classifier else _first(CocoSet.open(*find_split(root, split)), limit)
    found = find_weights(model, weights)
    network, preprocess = load_network(model, found)
    side = size or preprocess.input_hw[0]
    if side < 1 or side % max(network.params.strides):
        raise ConfigError(f"size must be a multiple of {max(network.params.strides)}, not {side}")
    if size is not None:
        preprocess = dataclasses.replace(preprocess, input_hw=(side, side))
    row: Dict[str, Any] = {"weights": found, "input_hw": preprocess.input_hw}
    with row_progress() as progress:

        def advance(done: int, total: int) -> None:
            progress("images", done, total)

        if coco_set is not None:
            row.update(set=coco_set.annotations, **network_ap(network, coco_set, preprocess, batch, progress=advance))
            count = len(coco_set.images)
        else:
            names = class_names_of(network)
            folder = _first(ClassFolder.open(Path(root) / split, names, network.params.num_classes), limit)
            row.update(set=folder.root, matched_by=folder.matched_by)
            row.update(network_top_k(network, folder, preprocess, batch, advance))
            count = len(folder.images)
    print_table([row], title=f"{model} on {count} images", json_path=json)


def _first(labelled: Labelled, limit: Optional[int]) -> Labelled:
    return labelled.first(limit) if limit is not None else labelled
