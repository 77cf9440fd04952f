"""AP is the same however many processes share the images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest

from ppsplit.data.coco import CocoSet
from ppsplit.data.layout import find_split
from ppsplit.data.training_set import TrainingSet
from ppsplit.detections import Detections
from ppsplit.errors import ConfigError
from ppsplit.image import Preprocess
from ppsplit.masks import RunLengths
from ppsplit.train import average_precision
from ppsplit.train.average_precision import network_ap, network_detections
from ppsplit.train.parallel import Processes
from ppsplit.train.setup import fresh_network


def box_mask(box_xyxy: np.ndarray) -> RunLengths:
    """A mask of its own for each box."""
    mask = np.zeros((64, 64), bool)
    mask[int(box_xyxy[1]) : int(box_xyxy[3]), int(box_xyxy[0]) : int(box_xyxy[2])] = True
    return RunLengths.of(mask)


@pytest.fixture()
def found_exactly(small_shapes: Path, monkeypatch: pytest.MonkeyPatch) -> CocoSet:
    """The held-out images, and a network that finds what is in them."""
    annotations, images = find_split(small_shapes, "val")
    truth = {image.image_id: image for image in TrainingSet.open(annotations, images).images}

    def detect(network: Any, coco_set: CocoSet, indices: List[int], *_: Any) -> List[Detections]:
        labelled = [truth[coco_set.images[index].image_id] for index in indices]
        found = [Detections(i.boxes_xyxy, np.full(len(i.class_ids), 0.7, np.float32), i.class_ids) for i in labelled]
        return [objects.with_masks([box_mask(box) for box in objects.boxes_xyxy]) for objects in found]

    monkeypatch.setattr(average_precision, "_detect", detect)
    return CocoSet.open(annotations, images)


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_shared_images_come_together(found_exactly: CocoSet, monkeypatch: pytest.MonkeyPatch, world: int) -> None:
    sent: Dict[int, bytes] = {}

    def gathered(self: Processes, data: bytes) -> List[bytes]:
        sent[self.rank] = data
        return [sent.get(rank, data) for rank in range(world)]

    monkeypatch.setattr(Processes, "gathered_bytes", gathered)
    network = fresh_network("yolov3_tiny", 4, 0.1, 0)
    alone = network_detections(network, found_exactly, Preprocess((64, 64)))
    for rank in reversed(range(world)):  # the first process last, when all have sent
        processes = Processes(rank, world)
        result = network_ap(network, found_exactly, Preprocess((64, 64)), 2, processes)
        assert bool(result) == (rank == 0)
    assert result["ap"] == pytest.approx(1.0)
    together = network_detections(network, found_exactly, Preprocess((64, 64)), 2, processes)
    assert together.keys() == alone.keys()
    for image_id, expected in alone.items():
        objects = together[image_id]
        assert (objects.boxes_xyxy == expected.boxes_xyxy).all() and (objects.class_ids == expected.class_ids).all()
        assert (objects.scores == expected.scores).all() and objects.scores.dtype == np.float32
        assert objects.masks == expected.masks and objects.masks is not None  # not dropped on the way


def test_a_set_with_other_classes_is_refused(small_shapes: Path) -> None:
    coco_set = CocoSet.open(*find_split(small_shapes, "val"))
    with pytest.raises(ConfigError, match="7 classes.* 4 categories"):
        network_ap(fresh_network("yolov3_tiny", 7, 0.1, 0), coco_set, Preprocess((64, 64)))
