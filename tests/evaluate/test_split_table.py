"""The results table on real photos, over real processes and sockets; and the accuracy of the port."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Tuple

import pytest

from ppsplit.bundle import Bundle
from ppsplit.data.coco import CocoSet
from ppsplit.data.sample_photos import sample_photos
from ppsplit.errors import DataError
from ppsplit.evaluate.split_table import split_table
from ppsplit.evaluate.whole import whole_client
from ppsplit.image import read_image
from ppsplit.metrics.coco_ap import coco_box_ap
from ppsplit.models.coco_names import COCO_NAMES
from ppsplit.wire import Options
from tests.conftest import ROOT

VAL = ROOT.parent / "shared" / "coco" / "val158"
# Labelled by eye: x, y, width, height in pixels.
LABELS = {"coffee.png": ("cup", [175, 18, 250, 311]), "motorcycle_left.png": ("motorcycle", [99, 56, 580, 399])}


@pytest.fixture(scope="module")
def photo_set(tmp_path_factory: pytest.TempPathFactory) -> CocoSet:
    photos = {path.name: path for path in sample_photos() if path.name in LABELS}
    values = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(LABELS, 1)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(COCO_NAMES, 1)],
        "annotations": [
            {
                "id": i,
                "image_id": i,
                "category_id": COCO_NAMES.index(name) + 1,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for i, (name, box) in enumerate(LABELS.values(), 1)
        ],
    }
    path = tmp_path_factory.mktemp("photos") / "instances.json"
    path.write_text(json.dumps(values))
    return CocoSet.open(path, photos["coffee.png"].parent)


@pytest.fixture(scope="module")
def rows(tiny_yolo_bundle: Path, photo_set: CocoSet) -> Dict[str, Dict[str, Any]]:
    wanted = ("full", "split/fp32", "split/uint4", "nb/x86", "jpeg/q75", "edge-only")
    shown = []
    table = split_table(Bundle.open(tiny_yolo_bundle), photo_set, wanted, 1, lambda *step: shown.append(step))
    assert [name for name, _, _ in shown] == list(wanted)
    return {row["name"]: row for row in table}


def test_every_way_finds_the_cup_and_the_motorcycle(rows: Dict[str, Dict[str, Any]]) -> None:
    assert {name: row["ap50"] for name, row in rows.items()} == dict.fromkeys(rows, 1.0)


def test_a_lossless_split_costs_no_ap(rows: Dict[str, Dict[str, Any]]) -> None:
    for name in ("split/fp32", "nb/x86", "edge-only"):
        assert rows[name]["ap"] == pytest.approx(rows["full"]["ap"], abs=0.05 if name == "nb/x86" else 1e-4)


def test_bytes_are_those_that_were_sent(rows: Dict[str, Dict[str, Any]]) -> None:
    sizes = {name: row["payload_bytes"] for name, row in rows.items()}
    assert sizes["full"] == sizes["edge-only"] == 0
    assert 0 < sizes["split/uint4"] < sizes["nb/x86"] < sizes["split/fp32"] < 128 * 26 * 26 * 4
    assert sizes["split/uint4"] < 128 * 26 * 26 / 2
    assert 5_000 < sizes["jpeg/q75"] < 60_000
    assert all(row["payload_bytes_p95"] >= row["payload_bytes"] for row in rows.values())


def test_times_and_memory_are_measured(rows: Dict[str, Dict[str, Any]]) -> None:
    for name, row in rows.items():
        assert row["images"] == 2 and row["edge_peak_rss_mib"] > 20, name
        assert row["total_ms"] > 0, name
    assert rows["jpeg/q75"]["head_ms"] == 0 < rows["nb/x86"]["head_ms"]
    assert rows["edge-only"]["network_ms"] == 0 < rows["split/fp32"]["network_ms"]
    # an edge that only sends pictures loads no network
    assert rows["jpeg/q75"]["edge_peak_rss_mib"] < rows["nb/x86"]["edge_peak_rss_mib"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (COCO_NAMES[:3], "80 classes.*3 categories"),
        ((COCO_NAMES[1], COCO_NAMES[0], *COCO_NAMES[2:]), "class 0 is 'person', in .* it is 'bicycle'"),
        ((*COCO_NAMES[:-1], "comb"), "class 79 is 'toothbrush', in .* it is 'comb'"),
    ],
)
def test_another_sets_categories_are_refused(
    tiny_yolo_bundle: Path, photo_set: CocoSet, tmp_path: Path, names: Tuple[str, ...], expected: str
) -> None:
    values = json.loads(photo_set.annotations.read_text())
    values["categories"] = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
    other = tmp_path / "other.json"
    other.write_text(json.dumps(values))
    coco_set = CocoSet.open(other, photo_set.images[0].path.parent)
    with pytest.raises(DataError, match=expected):
        split_table(Bundle.open(tiny_yolo_bundle), coco_set, (), 1, lambda *step: None)


@pytest.mark.skipif(not VAL.is_dir(), reason="the COCO images for evaluation are not on this machine")
def test_yolov3_tiny_reaches_its_ap(tiny_yolo_bundle: Path) -> None:
    coco_set = CocoSet.open(VAL / "instances.json", VAL / "images")
    client = whole_client(Bundle.open(tiny_yolo_bundle), Options(score_threshold=0.001, max_detections=100))
    found = {image.image_id: client.infer(read_image(image.path)).detections for image in coco_set.images}
    scores = coco_box_ap(coco_set, found)
    assert scores["ap"] >= 0.19 and scores["ap50"] >= 0.40, scores
