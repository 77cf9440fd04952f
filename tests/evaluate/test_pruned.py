"""The table of pruned networks, on small ones whose costs are known; and times that are taken side by side."""

from __future__ import annotations

from typing import Any, Dict

import numpy as np
import pytest

from ppsplit.data.coco import CocoSet
from ppsplit.data.layout import find_split
from ppsplit.data.shapes import ShapesPlan, make_shapes
from ppsplit.evaluate.latency import median_ratio
from ppsplit.evaluate.pruned import Comparison, Contender, pruned_table
from ppsplit.evaluate.pruned_plot import plot_ap_against_macs
from ppsplit.image import Preprocess
from ppsplit.models.checkpoint import save_checkpoint
from ppsplit.train.setup import fresh_network

CUT = "pool4"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Dict[str, Dict[str, Any]]:
    """A network, the same again, and one of half its width."""
    folder = tmp_path_factory.mktemp("pruned")
    make_shapes(folder / "shapes", ShapesPlan(train=2, val=3, side=64, objects=3))
    coco_set = CocoSet.open(*find_split(folder / "shapes", "val"))
    contenders = []
    for name, width in (("whole", 0.25), ("same", 0.25), ("half", 0.125)):
        weights = folder / name / "model.npz"
        save_checkpoint(fresh_network("yolov3_tiny", 4, width, 0), weights, Preprocess((64, 64)))
        untuned = None if name == "whole" else weights
        contenders.append(Contender(name, weights, folder / name / "bundle", untuned, {"criterion": name}))
    comparison = Comparison(CUT, tuple(image.path for image in coco_set.images), 20, 2, 2)
    shown = []
    table = pruned_table(contenders, coco_set, comparison, lambda *step: shown.append(step))
    assert [number for _, number, _ in shown] == [1, 2, 3, 4]
    plot_ap_against_macs(table, folder / "plot.png")
    assert (folder / "plot.png").stat().st_size > 1000
    return {row["name"]: row for row in table}


def test_the_first_row_is_what_the_others_are_measured_by(rows: Dict[str, Dict[str, Any]]) -> None:
    for runtime in ("paddle", "lite"):
        assert rows["whole"][f"head_{runtime}_ratio"] == 1
    assert not {"ap_points", "ap_untuned"} & set(rows["whole"])


def test_the_same_network_differs_by_nothing(rows: Dict[str, Dict[str, Any]]) -> None:
    same, whole = rows["same"], rows["whole"]
    assert [same[f"ap_points{end}"] for end in ("", "_low", "_high")] == [0, 0, 0]
    assert same["ap"] == same["ap_untuned"] == whole["ap"]
    for column in ("macs", "edge_macs", "parameters", "payload_bytes"):
        assert same[column] == whole[column] > 0, column
    for column in ("program_bytes", "nb_bytes"):  # tensors' names have counters in them
        assert same[column] == pytest.approx(whole[column], rel=0.01), column


def test_half_the_width_is_a_quarter_of_the_work(rows: Dict[str, Dict[str, Any]]) -> None:
    half = rows["half"]
    assert half["criterion"] == "half"
    assert half["macs_ratio"] == pytest.approx(0.25, abs=0.1)
    assert half["edge_macs"] < half["macs"]
    for column in ("program_bytes", "nb_bytes", "checkpoint_bytes", "payload_bytes"):
        assert 0 < half[column] < rows["whole"][column], column


def test_a_machine_that_slows_down_moves_no_ratio() -> None:
    reference = np.array([10.0, 10, 30, 30, 50])
    assert median_ratio(reference * 0.5, reference) == 0.5
