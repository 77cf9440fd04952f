"""COCO AP of a network as it stands, its images shared among the processes."""

from __future__ import annotations

from typing import Callable, Dict, List

import numpy as np

from ppsplit.data.coco import CocoSet
from ppsplit.decode import build_decoder
from ppsplit.detections import Detections
from ppsplit.errors import ConfigError
from ppsplit.image import Preprocess, read_image, to_input
from ppsplit.metrics.coco_ap import coco_ap
from ppsplit.models import decode_spec
from ppsplit.paddle_first import paddle
from ppsplit.train.parallel import ALONE, Processes

MAX_DETECTIONS = 100  # what COCO counts
NO_OBJECT = -1.0

Progress = Callable[[int, int], None]


def network_ap(
    network: paddle.nn.Layer,
    coco_set: CocoSet,
    preprocess: Preprocess,
    batch: int = 8,
    processes: Processes = ALONE,
    progress: Progress = lambda done, total: None,
) -> Dict[str, float]:
    """AP of `network` on a set; as `coco_ap` in the first process, {} in the others.

    Args:
        network: with `params`; is put into evaluation mode.
        batch: images at a time.
        progress: called with images done by this process, and how many it has.

    Raises:
        ConfigError: the set's categories are not the network's classes.
        ImageError: an image cannot be read.
    """
    found = network_detections(network, coco_set, preprocess, batch, processes, progress)
    return coco_ap(coco_set, found) if processes.leads else {}


def network_detections(
    network: paddle.nn.Layer,
    coco_set: CocoSet,
    preprocess: Preprocess,
    batch: int = 8,
    processes: Processes = ALONE,
    progress: Progress = lambda done, total: None,
) -> Dict[int, Detections]:
    """What `network` finds in each image of a set, as AP asks for it: many boxes, most of them unsure.

    Takes and raises what `network_ap` does.

    Returns:
        image id to detections in original-image pixels in the first process, {} in the others.
    """
    check_classes(network.params.num_classes, coco_set)
    network.eval()
    decoder = build_decoder(decode_spec(network.params), preprocess.input_hw)
    mine = range(processes.rank, len(coco_set.images), processes.world)
    found: List[Detections] = []
    for start in range(0, len(mine), batch):
        indices = mine[start : start + batch]
        found += _detect(network, coco_set, list(indices), preprocess, decoder)
        progress(start + len(indices), len(mine))
    if processes.world == 1:  # nothing to gather, and masks would not fit a table
        return {image.image_id: objects for image, objects in zip(coco_set.images, found)}
    table = np.full((-(-len(coco_set.images) // processes.world), MAX_DETECTIONS, 6), NO_OBJECT, np.float32)
    for row, objects in zip(table, found):
        row[: len(objects)] = np.column_stack([objects.boxes_xyxy, objects.scores, objects.class_ids])
    tables = processes.gathered(table)
    if not processes.leads:
        return {}
    return {
        image.image_id: _detections(tables[index % processes.world][index // processes.world])
        for index, image in enumerate(coco_set.images)
    }


def check_classes(num_classes: int, coco_set: CocoSet) -> None:
    """Raises ConfigError where a network of `num_classes` cannot be measured on this set."""
    if num_classes != len(coco_set.category_names):
        raise ConfigError(
            f"the network knows {num_classes} classes, {coco_set.annotations} has {len(coco_set.category_names)} "
            "categories; evaluate it on a set with the categories it was trained for"
        )


def _detect(
    network: paddle.nn.Layer,
    coco_set: CocoSet,
    indices: List[int],
    preprocess: Preprocess,
    decoder: Callable[..., List[Detections]],
) -> List[Detections]:
    """What the network finds in these images, boxes in original pixels."""
    inputs = [to_input(read_image(coco_set.images[index].path), preprocess) for index in indices]
    with paddle.no_grad():
        heads = network(paddle.to_tensor(np.concatenate([tensor for tensor, _ in inputs])))
    outputs = [head.astype("float32").numpy() for head in heads]
    found = decoder(outputs, score_threshold=network.params.least_score, max_detections=MAX_DETECTIONS)
    return [placement.detections_to_original(f) for f, (_, placement) in zip(found, inputs)]


def _detections(rows: np.ndarray) -> Detections:
    rows = rows[rows[:, 5] != NO_OBJECT]
    return Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64))
