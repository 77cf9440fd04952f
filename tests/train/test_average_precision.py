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
from ppsplit.train import average_precision
from ppsplit.train.average_precision import network_ap
from ppsplit.train.parallel import Processes
from ppsplit.train.setup import fresh_network


@pytest.fixture()
def found_exactly(small_shapes: Path, monkeypatch: pytest.MonkeyPatch) -> CocoSet:
    """The held-out images, and a network that finds what is in them."""
    annotations, images = find_split(small_shapes, "val")
    truth = {image.image_id: image for image in TrainingSet.open(annotations, images).images}

    def detect(network: Any, coco_set: CocoSet, indices: List[int], *_: Any) -> List[Detections]:
        labelled = [truth[coco_set.images[index].image_id] for index in indices]
        return [Detections(i.boxes_xyxy, np.ones(len(i.class_ids), np.float32), i.class_ids) for i in labelled]

    monkeypatch.setattr(average_precision, "_detect", detect)
    return CocoSet.open(annotations, images)


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_shared_images_come_together(found_exactly: CocoSet, monkeypatch: pytest.MonkeyPatch, world: int) -> None:
    tables: Dict[int, np.ndarray] = {}

    def gathered(self: Processes, array: np.ndarray) -> List[np.ndarray]:
        tables[self.rank] = array
        return [tables.get(rank, array) for rank in range(world)]

    monkeypatch.setattr(Processes, "gathered", gathered)
    network = fresh_network("yolov3_tiny", 4, 0.1, 0)
    for rank in reversed(range(world)):  # the first process last, when all tables are there
        result = network_ap(network, found_exactly, Preprocess((64, 64)), 2, Processes(rank, world))
        assert bool(result) == (rank == 0)
    assert result["ap"] == pytest.approx(1.0)
    shapes = {table.shape for table in tables.values()}
    assert shapes == (set() if world == 1 else {(-(-5 // world), 100, 6)})  # one process has nothing to gather


def test_a_set_with_other_classes_is_refused(small_shapes: Path) -> None:
    coco_set = CocoSet.open(*find_split(small_shapes, "val"))
    with pytest.raises(ConfigError, match="7 classes.* 4 categories"):
        network_ap(fresh_network("yolov3_tiny", 7, 0.1, 0), coco_set, Preprocess((64, 64)))
