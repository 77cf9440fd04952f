"""`ppsplit train-qat` as it is typed: what it leaves, killed and resumed, refused, and cut in two in int8."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import List

import numpy as np
import pytest

from ppsplit.bundle import Bundle
from ppsplit.cli import main
from ppsplit.export.clips import CLIPS_FILE, read_clips
from ppsplit.models.checkpoint import read_checkpoint
from ppsplit.train.log import read_log
from tests.prune.conftest import NAMES, SIDE
from tests.train.conftest import finish, kill_after

from .conftest import Command, tool


def test_what_it_leaves(uninterrupted: Path, checkpoint: Path) -> None:
    files = {path.relative_to(uninterrupted).as_posix() for path in uninterrupted.rglob("*") if path.is_file()}
    assert files == {"model.npz", CLIPS_FILE, "qat.json", "steps.csv"}
    clips, report = read_clips(uninterrupted / "model.npz"), json.loads((uninterrupted / "qat.json").read_text())
    assert list(clips) == ["image", "pool1", "pool2", "pool3"] and report["clips"]["ended"] == clips
    assert all(clips[name] != began for name, began in report["clips"]["began"].items())
    assert [row["row"] for row in report["rows"]] == ["ptq-aciq", "qat"]
    assert all(row["photos"] == 3 and 0 < row["output_error"] < 1 for row in report["rows"])
    assert [int(row["step"]) for row in read_log(uninterrupted / "steps.csv")] == list(range(1, 13))
    saved, before = read_checkpoint(uninterrupted / "model.npz"), read_checkpoint(checkpoint)
    assert (saved.preprocess.input_hw, saved.class_names) == ((SIDE, SIDE), NAMES)
    assert saved.tensors.keys() == before.tensors.keys()
    for name, array in before.tensors.items():
        learns = name.startswith(("conv1.", "conv2.", "conv3.", "conv4.")) and not name.endswith(("_mean", "_variance"))
        assert np.array_equal(saved.tensors[name], array) != learns, name


def test_it_is_cut_in_two_in_int8_by_the_command_it_names(
    words: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train-qat", *words(tmp_path / "the run", "--cut", "conv7")]) == 0
    program, *typed = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert program == "ppsplit" and typed[-4:] == ["--cut", "conv7", "--quant", "qat"]
    assert main([*typed, "--nb", "x86", "--certify-count", "2", "--calibration-count", "2"]) == 0
    bundle = Bundle.open(tmp_path / "freezed" / "yolov3_tiny-split")
    errors = {c.runtime: c.max_relative_error for c in bundle.cut().certificates if c.precision == "qat"}
    assert bundle.manifest.precision == "qat" and 0 < errors["paddle"] < 0.3
    later = [*typed[:3], "--cut", "neck", "--quant", "qat", "--output", "later"]  # more is rounded there
    assert main(later) == 1
    assert "the checkpoint has clips of 7 activations, but none of" in capsys.readouterr().err


def check_same(one: Path, other: Path) -> None:
    """Two fine-tunings left the same bits."""
    for name in ("model.npz", CLIPS_FILE):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    reports = [json.loads((folder / "qat.json").read_text()) for folder in (one, other)]
    assert reports[0]["rows"] == reports[1]["rows"]


def test_killed_and_resumed_it_ends_the_same(words: Command, uninterrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = tool(words(run, "--tune-images", "48", "--cut", "pool4", "--resume"))
    kill_after(command, run / "steps.csv", 3, tmp_path)  # saved after 2, 4, 6, ...
    assert (run / "state.npz").is_file() and not (run / "model.npz").exists()
    finish(command, tmp_path)
    check_same(uninterrupted, run)


def test_a_finished_one_resumed_changes_nothing(uninterrupted: Path, words: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(uninterrupted, run)
    assert main(["train-qat", *words(run, "--tune-images", "48", "--cut", "pool4", "--resume")]) == 0
    check_same(uninterrupted, run)


def refused(words: List[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command ends with."""
    capsys.readouterr()
    assert main(["train-qat", *words]) == 1
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert said.out == "" and len(lines) == 1 and "Traceback" not in said.err
    return lines[0]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--cut", "pool9"), "there is no cut 'pool9'"),
        (("--cut", "input"), "no layer with weights in front of the cut; choose a later --cut"),
        (("--weights", "gone.npz"), "--weights gone.npz does not exist"),
        (("--images", "gone"), "no photos in gone: give a folder"),
        (("--held-out", "9"), "12 photos, of which --held-out 9 leaves 3 to learn from, fewer than --batch 4"),
        (("--algorithm", "minmax"), "algorithm"),
        (("--lr", "0", "--clip-lr", "-1"), "out of range: lr 0.0, clip_lr -1.0;"),
        (("--input-hw", "100,60"), "multiples of 32"),
        (("--input-sizes", "100"), "input_sizes 100"),
        (("--flip", "2"), "0..1"),
        (("--ema-decay", "1"), "ema_decay 1.0"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    words: Command, tmp_path: Path, more: "tuple[str, ...]", says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in refused(words(tmp_path / "run", *more), capsys)
    assert list(tmp_path.iterdir()) == []


def test_folders_that_hold_something(
    uninterrupted: Path, words: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "go on with --resume, or give another --output" in refused(words(uninterrupted), capsys)
    said = refused(words(uninterrupted, "--resume", "--cut", "pool4", "--lr", "0.1"), capsys)
    assert "is of a fine-tuning with other settings (tune_images, lr)" in said
    (tmp_path / "qat.json").write_text("{}")
    assert "is damaged" in refused(words(tmp_path, "--resume"), capsys)


def test_the_tool_is_the_verb(tmp_path: Path) -> None:
    done = subprocess.run(tool([]), cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and done.stdout == ""
    assert done.stderr.startswith("error: no photos in dataset/coco/train2017")
