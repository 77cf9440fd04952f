"""`ppsplit train`, `eval` and `make-shapes` as they are typed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest

from ppsplit.bundle import Bundle
from ppsplit.cli import main
from ppsplit.data.augment import Augmentation
from ppsplit.data.batches import BatchPlan, BatchSource
from ppsplit.data.layout import find_split
from ppsplit.data.training_set import TrainingSet
from ppsplit.export.freeze import FrozenModel
from ppsplit.image import Preprocess
from ppsplit.models.weights import load_network
from ppsplit.paddle_first import paddle
from ppsplit.train.log import read_log
from ppsplit.train.loss import YoloV3Loss

from .conftest import ROOT, finish

COCO = ROOT.parent / "shared" / "coco"


def tool(name: str, *arguments: str) -> List[str]:
    return [sys.executable, str(ROOT / "tools" / name), *arguments]


def test_without_data_one_line_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "make-shapes" in said.err


def test_help_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "--ignore-threshold" in words and "not told that it is background" in words


def test_a_finished_training_is_not_overwritten(
    small_shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "last.npz").write_bytes(b"")
    words = ["train", "--scratch", "--width", "0.1", "--root", str(small_shapes), "--output", str(tmp_path)]
    assert main([*words, "--input-sizes", "64"]) == 1
    assert "--resume" in capsys.readouterr().err


def test_defaults_fine_tune_the_downloadable_model(yolo_weights: Path, tmp_path: Path) -> None:
    (tmp_path / "complete_model").symlink_to(yolo_weights.parent)
    finish(tool("make_shapes.py", "--train", "8", "--val", "2", "--side", "64"), tmp_path)
    said = finish(tool("train.py", "--epochs", "1", "--input-sizes", "64"), tmp_path)
    assert "knows 80 classes, the data has 4: begun afresh head16, head32" in said
    model = str(tmp_path / "output" / "train" / "model.npz")
    assert "AP" in finish(tool("eval.py", "--weights", model), tmp_path).upper()


def test_a_backbone_and_a_fresh_rest(yolo_weights: Path, small_shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "complete_model").symlink_to(yolo_weights.parent)
    more = ["--root", str(small_shapes), "--epochs", "1", "--batch", "4", "--input-sizes", "64"]
    said = finish(tool("train.py", "--backbone", "yolov3-tiny", *more), tmp_path)  # a name of the zoo
    fresh = "begun afresh neck, head32_conv, head32, lateral, head16_conv, head16"
    assert f"backbone from {yolo_weights.name}" in said.replace("complete_model/", "")
    assert f"loaded conv1, conv2, conv3, conv4, conv5, conv6, conv7; {fresh}" in said
    model = tmp_path / "output" / "train" / "model.npz"
    again = finish(tool("train.py", "--backbone", str(model), "--output", "again", *more), tmp_path)
    assert f"backbone from {model}: loaded conv1" in again


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--backbone", "gone"], "gone is neither a file nor a name of the zoo, which has: yolov3-tiny"),
        (["--backbone", "a", "--weights", "b"], "weights and backbone contradict each other"),
        (["--backbone", "a", "--scratch"], "scratch and backbone contradict each other"),
        (["--weights", "a", "--scratch"], "weights and scratch contradict each other"),
    ],
)
def test_a_beginning_that_cannot_be(
    words: List[str], says: str, small_shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--root", str(small_shapes), "--output", str(tmp_path), *words]) == 1
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_a_truncated_image_is_skipped_by_name(small_shapes: Path, tmp_path: Path) -> None:
    root = tmp_path / "shapes"
    for path in (p for p in small_shapes.rglob("*") if p.is_file()):
        copy = root / path.relative_to(small_shapes)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes()[: 500 if path.name == "000002.jpg" and "train" in path.parts else None])
    more = ["--scratch", "--width", "0.1", "--epochs", "1", "--batch", "4", "--input-sizes", "64"]
    said = finish(tool("train.py", "--root", str(root), *more), tmp_path)
    assert "1 images are truncated: 000002.jpg" in said


def last_ap(folder: Path) -> Dict[str, Any]:
    return {name: float(value) for name, value in read_log(folder / "ap.csv")[-1].items()}


@pytest.mark.slow
def test_shapes_are_learnt_from_scratch(tmp_path: Path) -> None:
    finish(tool("make_shapes.py"), tmp_path)
    began = time.monotonic()
    config = str(ROOT / "configs" / "yolov3_tiny_shapes.yaml")
    process = tool("train.py", "--config", config, "--epochs", "20", "--eval-every", "20")
    assert subprocess.run(process, cwd=tmp_path, capture_output=True, timeout=900).returncode == 0
    assert last_ap(tmp_path / "output" / "yolov3_tiny_shapes")["ap50"] >= 0.9
    assert time.monotonic() - began < 600


def loss_on_train128(weights: Path) -> float:
    """Mean over the photos as they are."""
    network, _ = load_network("yolov3_tiny", weights)
    network.eval()
    data = TrainingSet.open(*find_split(COCO, "train128"))
    plan = BatchPlan(len(data.images), 16, 0, (416,))
    source = BatchSource(data, plan, Preprocess((416, 416)), Augmentation(0, 0, 0, 0), 0)
    loss = YoloV3Loss(network.params, label_smoothing=False)
    with paddle.no_grad():
        parts = [loss(network(paddle.to_tensor(batch.images)), batch) for batch in source.epoch(0)]
    return float(np.mean([sum(float(value) for value in values.values()) for values in parts]))


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.skipif(not COCO.is_dir(), reason="the COCO images are not on this machine")
def test_fine_tuning_on_128_photos_does_no_harm(yolo_weights: Path, tmp_path: Path) -> None:
    config = str(ROOT / "configs" / "yolov3_tiny_coco128.yaml")
    process = tool("train.py", "--config", config, "--root", str(COCO), "--weights", str(yolo_weights))
    process += ["--val-split", "val158"]
    subprocess.run(process, cwd=tmp_path, capture_output=True, timeout=2900, check=True)
    folder = tmp_path / "output" / "yolov3_tiny_coco128"
    assert loss_on_train128(folder / "model.npz") < loss_on_train128(yolo_weights)
    assert last_ap(folder)["ap"] >= 0.196 - 0.01


def test_class_names_come_through_to_the_bundle(small_shapes: Path, tmp_path: Path) -> None:
    words = ["--scratch", "--width", "0.1", "--epochs", "1", "--batch", "10", "--input-sizes", "64"]
    assert main(["train", "--root", str(small_shapes), "--output", str(tmp_path), *words]) == 0
    names = TrainingSet.open(*find_split(small_shapes, "train")).category_names
    assert len(names) == 4
    chosen = ["--weights", str(tmp_path / "model.npz"), "--input-hw", "64,64"]
    assert main(["export", *chosen, "--output", str(tmp_path / "frozen")]) == 0
    assert tuple(FrozenModel.load(tmp_path / "frozen").class_names) == names
    cut = ["--nb", "x86", "--certify-count", "1", "--calibration-count", "1", "--output", str(tmp_path / "bundle")]
    assert main(["export-split", *chosen, *cut]) == 0
    assert Bundle.open(tmp_path / "bundle").manifest.class_names == names
