"""The exporting verbs as a user calls them, on real weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ppsplit.bundle import Bundle
from ppsplit.cli import main
from ppsplit.data.sample_photos import sample_photos


@pytest.fixture(scope="module")
def frozen(yolo_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frozen") / "yolov3_tiny"
    assert main(["export", "--weights", str(yolo_weights), "--output", str(folder)]) == 0
    return folder


def test_export_says_how_large_the_network_is(
    yolo_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "--weights", str(yolo_weights), "--input-hw", "320,416", "--output", str(tmp_path / "frozen")]
    assert main(words) == 0
    assert "8.85 M parameters" in capsys.readouterr().out
    assert json.loads((tmp_path / "frozen" / "frozen.json").read_text())["preprocess"]["input_hw"] == [320, 416]


def test_list_cuts_names_the_reference_cut_and_its_sizes(frozen: Path, tmp_path: Path) -> None:
    table = tmp_path / "cuts.json"
    assert main(["export-split", "--program", str(frozen), "--list-cuts", "--json", str(table)]) == 0
    rows = {row["name"]: row for row in json.loads(table.read_text())["rows"]}
    assert (rows["pool4"]["tensors"], rows["pool4"]["fp32_bytes"]) == ("128x26x26", 128 * 26 * 26 * 4)
    assert rows["pool4"]["edge_macs_share"] == pytest.approx(0.2418)
    assert rows["conv7"]["tensors"] == "256x26x26 + 1024x13x13"
    assert rows["output"]["edge_macs_share"] == 1.0


def test_a_folder_of_export_can_be_split(frozen: Path, tmp_path: Path) -> None:
    words = ["export-split", "--program", str(frozen), "--cut", "pool5,head32", "--nb", "x86"]
    assert main([*words, "--output", str(tmp_path / "bundle"), "--certify-count", "1"]) == 0
    manifest = Bundle.open(tmp_path / "bundle").manifest
    assert [cut.name for cut in manifest.cuts] == ["pool5", "head32"]
    assert manifest.decode.family == "yolov3"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prune"], "python tools/train_prune.py --model yolov3_tiny"),
        (["--weights", "gone.weights"], "gone.weights does not exist"),
        (["--quant", "int4"], "--quant 'int4' is unknown; choose from int8, int16, ptq"),
        (["--nb", "riscv"], "--nb 'riscv' is unknown; choose from x86, arm"),
        (["--model", "yolov9"], "there is no model 'yolov9'"),
        (["--program", "gone"], "gone.pdmodel is missing"),
        (["--qant", "int8"], "did you mean --quant"),
        (["--calibration-images", "gone"], "gone does not exist"),
        (["--calibration-count", "0"], "at least one image"),
        (["--input-hw", "100,100"], "multiples of 32"),
        (["--cut", "pol4"], "did you mean pool4"),
    ],
)
def test_wrong_arguments_are_one_line(
    options: list, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, yolo_weights: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)  # where nothing was ever trained
    (tmp_path / "complete_model").symlink_to(yolo_weights.parent)
    assert main(["export-split", *options]) == 1
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_infer_draws_and_reports(frozen: Path, tmp_path: Path) -> None:
    words = ["infer", "--program", str(frozen), "--input", str(sample_photos()[0]), "--output", str(tmp_path)]
    assert main(words) == 0
    image = json.loads((tmp_path / "detections.json").read_text())["images"][0]
    assert [found["class_name"] for found in image["detections"]] == ["cup"]
    assert image["detections"][0]["score"] == pytest.approx(0.643, abs=0.005)
    assert (tmp_path / "coffee.png").stat().st_size > 10_000


def test_features_can_be_carried_by_hand(tiny_yolo_bundle: Path, tmp_path: Path) -> None:
    features, table = tmp_path / "coffee.features", tmp_path / "found.json"
    words = ["client", "--bundle", str(tiny_yolo_bundle), "--input", str(sample_photos()[0])]
    assert main([*words, "--save-features", str(features)]) == 0
    assert main(["tail", str(features), "--bundle", str(tiny_yolo_bundle), "--json", str(table)]) == 0
    assert "cup" in table.read_text()
