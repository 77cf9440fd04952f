"""Bytes against accuracy: every way of a calibrated bundle on a small labelled set, and the pictures' formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest

from ppsplit.bundle import Bundle
from ppsplit.data.coco import CocoSet
from ppsplit.errors import ConfigError
from ppsplit.evaluate.rate import RIVALS, Way, decode_picture, encode_picture, planned_ways, rate_table
from ppsplit.evaluate.rate_plot import plot_rate
from ppsplit.image import read_image
from tests.tiny_bundle import CLASS_NAMES


@pytest.fixture(scope="module")
def labelled(noise_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> CocoSet:
    names = [path.name for path in sorted(noise_photos.iterdir())[:3]]
    box = {"bbox": [5, 5, 40, 30], "area": 1200, "iscrowd": 0, "category_id": 1}
    values = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names, 1)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASS_NAMES, 1)],
        "annotations": [{"id": i, "image_id": i, **box} for i in range(1, 4)],
    }
    path = tmp_path_factory.mktemp("labels") / "instances.json"
    path.write_text(json.dumps(values))
    return CocoSet.open(path, noise_photos)


@pytest.fixture(scope="module")
def rows(learned_bundle: Path, labelled: CocoSet) -> Dict[str, Dict[str, Any]]:
    bundle = Bundle.open(learned_bundle)
    ways = planned_ways(bundle, bundle.cut("deep"), [20, 100])
    shown = []
    table = rate_table(bundle, bundle.cut("deep"), labelled, ways, lambda *step: shown.append(step))
    assert [name for name, _, _ in shown] == ["features", *(way.title for way in ways)]
    return {row["name"]: row for row in table}


def test_nothing_rounded_costs_nothing(rows: Dict[str, Dict[str, Any]]) -> None:
    assert (rows["none"]["payload_bytes"], rows["none"]["score_kl"]) == (0, 0)
    assert rows["fp32"]["score_kl"] == 0
    assert rows["fp32"]["ap"] == rows["none"]["ap"]


def test_less_bytes_move_scores_more(rows: Dict[str, Dict[str, Any]]) -> None:
    for worse, better in (
        ("uint4", "uint8"),
        ("uint8", "fp32"),
        ("feature q20", "feature q100"),
        ("mosaic q35", "mosaic q75"),
        ("jpeg q30", "jpeg q80"),
    ):
        assert 0 < rows[worse]["payload_bytes"] < rows[better]["payload_bytes"]
        assert rows[worse]["score_kl"] > rows[better]["score_kl"]


def test_every_rival_is_there(rows: Dict[str, Dict[str, Any]]) -> None:
    assert set(RIVALS) <= {row["group"] for row in rows.values()}


def test_the_plot(rows: Dict[str, Dict[str, Any]], tmp_path: Path) -> None:
    plot_rate(list(rows.values()), tmp_path / "rate.png")
    assert read_image(tmp_path / "rate.png").std() > 5


def test_a_bundle_without_boxes(raw_bundle: Path, labelled: CocoSet) -> None:
    bundle = Bundle.open(raw_bundle)
    with pytest.raises(ConfigError, match="no way from its outputs to boxes"):
        rate_table(bundle, bundle.cut(), labelled, [Way("fp32")], lambda *step: None)


@pytest.mark.parametrize("name", RIVALS)
def test_pictures_come_back_nearly(name: str) -> None:
    ramp = np.linspace(0, 255, 64 * 48 * 3).reshape(48, 64, 3).astype(np.uint8)
    small, large = (encode_picture(ramp, name, quality) for quality in (20, 95))
    assert len(small) < len(large)
    assert decode_picture(large).shape == ramp.shape
    assert np.abs(decode_picture(large).astype(int) - ramp).mean() < 3
