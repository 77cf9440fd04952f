"""A small set of shapes, and sets with one thing wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict

import pytest

from ppsplit.data.layout import find_split
from ppsplit.data.shapes import ShapesPlan, make_shapes
from ppsplit.data.training_set import TrainingSet

Spoil = Callable[[Dict[str, Any], Path], None]


@pytest.fixture()
def shapes(tmp_path: Path) -> Path:
    """12 training and 4 held-out images of 64 by 64."""
    make_shapes(tmp_path / "shapes", ShapesPlan(train=12, val=4, side=64, objects=3))
    return tmp_path / "shapes"


@pytest.fixture()
def spoilt(shapes: Path) -> Callable[[Spoil], TrainingSet]:
    """Opens the set after a function has changed its JSON or its images."""

    def open_spoilt(spoil: Spoil) -> TrainingSet:
        annotations, images = find_split(shapes, "train")
        values = json.loads(annotations.read_text())
        spoil(values, images)
        annotations.write_text(json.dumps(values))
        return TrainingSet.open(annotations, images)

    return open_spoilt
