"""A channel that flips bits: how many, what the checksum sees, and what the table says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest

from ppsplit.bundle import Bundle
from ppsplit.cli import main
from ppsplit.data.coco import CocoSet
from ppsplit.errors import ConfigError, WireError
from ppsplit.evaluate.bit_error_plot import plot_bit_errors
from ppsplit.evaluate.bit_errors import MAX_TRIES, bit_error_table, flip_bits, resealed
from ppsplit.image import read_image
from ppsplit.wire import HEADER_BYTES, FeatureMessage, WireTensor, pack, unpack
from tests.tiny_bundle import CLASS_NAMES

FRAME = pack(FeatureMessage("f" * 64, "deep", "fp32", (WireTensor("x", (1, 2500), "float32", bytes(10_000)),)))
RATES = (1e-6, 1e-4, 1e-2)


@pytest.fixture(scope="module")
def labels(noise_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    box = {"bbox": [5, 5, 40, 30], "area": 1200, "iscrowd": 0, "category_id": 1}
    names = [path.name for path in sorted(noise_photos.iterdir())[:3]]
    values = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names, 1)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASS_NAMES, 1)],
        "annotations": [{"id": number, "image_id": number, **box} for number in range(1, 4)],
    }
    path = tmp_path_factory.mktemp("labels") / "instances.json"
    path.write_text(json.dumps(values))
    return path


@pytest.fixture(scope="module")
def rows(learned_bundle: Path, labels: Path, noise_photos: Path) -> List[Dict[str, Any]]:
    bundle = Bundle.open(learned_bundle)
    coco_set = CocoSet.open(labels, noise_photos)
    return bit_error_table(bundle, bundle.cut("deep"), coco_set, RATES, lambda *step: None)


@pytest.mark.parametrize("rate", [1e-4, 1e-2, 0.5])
def test_as_many_bits_flip_as_the_rate_says_and_none_of_the_header(rate: float) -> None:
    rng = np.random.default_rng(1)
    flipped = []
    for _ in range(20):
        received = flip_bits(FRAME, rate, rng)
        assert received[:HEADER_BYTES] == FRAME[:HEADER_BYTES] and len(received) == len(FRAME)
        flipped.append(int.from_bytes(received, "big") ^ int.from_bytes(FRAME, "big"))
    expected = 20 * 8 * (len(FRAME) - HEADER_BYTES) * rate
    assert abs(sum(bin(bits).count("1") for bits in flipped) - expected) < 5 * expected**0.5
    assert len(set(flipped)) == 20


def test_a_flipped_bit_is_seen_unless_the_checksum_is_off() -> None:
    received = bytearray(FRAME)
    position = FRAME.rindex(bytes(100))  # among the values
    received[position] ^= 1
    with pytest.raises(WireError, match="checksum"):
        unpack(bytes(received))
    message = unpack(resealed(bytes(received)))
    assert isinstance(message, FeatureMessage) and message.tensors[0].data.count(1) == 1


def test_a_channel_without_errors_changes_nothing(rows: List[Dict[str, Any]]) -> None:
    for row in rows:
        if row["bit_error_rate"] == 0:
            assert row["ap_unchecked"] == row["ap_checked"]
            assert (row["sent_bytes"], row["lost"], row["unreadable"]) == (row["frame_bytes"], 0, 0)


def test_what_arrives_is_right_and_what_does_not_is_given_up(rows: List[Dict[str, Any]]) -> None:
    clean = {row["encoding"]: row for row in rows if row["bit_error_rate"] == 0}
    assert set(clean) == {"fp32", "fp16", "uint8", "uint4", "feature"}
    for row in rows:
        assert row["undetected"] == 0
        if row["bit_error_rate"] == 1e-2:  # of a kilobyte and more, nothing gets through
            assert (row["lost"], row["ap_checked"]) == (1, 0)
            assert abs(row["sent_bytes"] - MAX_TRIES * row["frame_bytes"]) <= MAX_TRIES  # means are rounded
        elif not row["lost"]:
            assert row["ap_checked"] == clean[row["encoding"]]["ap_checked"]


def test_the_plot(rows: List[Dict[str, Any]], tmp_path: Path) -> None:
    plot_bit_errors(rows, tmp_path / "errors.png")
    assert read_image(tmp_path / "errors.png").std() > 5


@pytest.mark.parametrize("rates", [(), (0.0,), (1.0,), (-1e-3,), (float("nan"),)])
def test_what_is_no_rate(rates: Any, tiny_bundle: Path, labels: Path, noise_photos: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        bit_error_table(bundle, bundle.cut(), CocoSet.open(labels, noise_photos), rates, lambda *step: None)


def test_on_the_command_line(tiny_bundle: Path, labels: Path, noise_photos: Path, tmp_path: Path) -> None:
    options = ["eval-infer", "--bundle", str(tiny_bundle), "--data", str(labels), "--images", str(noise_photos)]
    files = ["--json", str(tmp_path / "t.json"), "--plot", str(tmp_path / "t.png")]
    assert main([*options, *files, "--bit-error-rate", "1e-4,1e-3", "--limit", "2"]) == 0
    table = json.loads((tmp_path / "t.json").read_text())
    assert {row["bit_error_rate"] for row in table["rows"]} == {0, 1e-4, 1e-3} and table["about"]["images"] == 2
    assert main([*options, "--bit-error-rate", "much"]) == 1
    assert main([*options, "--bit-error-rate", "1e-4", "--rows", "full"]) == 1
