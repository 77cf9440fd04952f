"""COCO AP of a network as it stands, its images shared among the processes."""

from __future__ import annotations

import json
from typing import Callable, Dict, List, Sequence

import numpy as np

from ppsplit.data.coco import CocoSet
from ppsplit.decode import build_decoder
from ppsplit.detections import Detections
from ppsplit.errors import ConfigError
from ppsplit.image import Preprocess, read_image, to_input
from ppsplit.masks import RunLengths
from ppsplit.metrics.coco_ap import coco_ap
from ppsplit.models import decode_spec
from ppsplit.paddle_first import paddle
from ppsplit.train.parallel import ALONE, Processes

MAX_DETECTIONS = 100  # what COCO counts

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
    parts = [_unpacked(part) for part in processes.gathered_bytes(_packed(found))]
    if not processes.leads:
        return {}
    return {
        image.image_id: parts[index % processes.world][index // processes.world]
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


def _packed(found: Sequence[Detections]) -> bytes:
    """All of it as JSON: what masks take differs from object to object. float32 survives it exactly."""
    return json.dumps(
        [
            {
                "boxes_xyxy": objects.boxes_xyxy.tolist(),
                "scores": objects.scores.tolist(),
                "class_ids": objects.class_ids.tolist(),
                "masks": None if objects.masks is None else [mask.to_json() for mask in objects.masks],
            }
            for objects in found
        ]
    ).encode("ascii")


def _unpacked(data: bytes) -> List[Detections]:
    return [
        Detections(
            np.array(values["boxes_xyxy"], np.float32).reshape(-1, 4),
            np.array(values["scores"], np.float32),
            np.array(values["class_ids"], np.int64),
            None if values["masks"] is None else tuple(RunLengths.from_json(mask) for mask in values["masks"]),
        )
        for values in json.loads(data)
    ]
