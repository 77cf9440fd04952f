"""Prunings that cannot be: one line says what was wrong and what to do, and the exit code is 1."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import List

import pytest

from ppsplit.cli import main

from .conftest import Command


def refused(words: List[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command ends with."""
    capsys.readouterr()
    assert main(words) == 1
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert said.out == "" and len(lines) == 1 and "Traceback" not in said.err
    return lines[0]


def test_an_output_that_is_there(uninterrupted: Path, words: Command, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(["train-prune", *words(uninterrupted, "--tune-images", "48")], capsys)
    assert "holds a pruning already; go on with --resume, or give another --output" in said


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--tune-images", "52"), "(tune_images)"),
        (("--tune-images", "48", "--criterion", "bn", "--lr", "0.1"), "(criterion, lr)"),
        (("--tune-images", "48", "--seed", "1"), "(seed)"),
    ],
)
def test_resumed_with_other_settings(
    uninterrupted: Path, words: Command, more: "tuple[str, ...]", named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(["train-prune", *words(uninterrupted, "--resume", *more)], capsys)
    assert f"is of a pruning with other settings {named}" in said


def test_resumed_with_other_photos_and_weights(
    uninterrupted: Path, words: Command, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    next(folder.glob("*.jpg")).rename(folder / "other.jpg")
    shutil.copy(uninterrupted / "model.npz", tmp_path / "other.npz")
    more = ("--tune-images", "48", "--resume", "--images", str(folder), "--weights", str(tmp_path / "other.npz"))
    said = refused(["train-prune", *words(uninterrupted, *more)], capsys)
    assert "other settings (weights_sha256, images)" in said


def test_a_damaged_start(
    uninterrupted: Path, words: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(uninterrupted, run)
    values = json.loads((run / "steps.json").read_text())
    (run / "steps.json").write_text(json.dumps({**values, "rows": values["rows"][:1]}))  # as when killed in the step
    start = run / "step1" / "start.npz"
    start.write_bytes(start.read_bytes()[:3000])
    said = refused(["train-prune", *words(run, "--tune-images", "48", "--resume")], capsys)
    assert f"{start} is damaged" in said and "begin again in another --output" in said


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--target-flops", "-99%"), "--target-flops -99% cannot be met: with each layer at its smallest, -"),
        (("--steps", "2", "--target-flops", "-99.5%"), "is the best by step 1 of 2. Ask for less"),
        (("--target", "edge", "--divisor", "64"), "nothing that counts there can be pruned, so -0% is the best"),
        (("--divisor", "4096"), "so -0% is the best. Ask for less, or give a --divisor below 4096"),
        (("--target", "edge", "--cut", "output"), "--target-payload -40% cannot be met: nothing that counts there can"),
        (("--target", "edge", "--cut", "input"), "--target-payload -40% cannot be met: nothing that counts there can"),
        (("--target-flops", "-0%"), "nothing would be pruned: the targets ask for no saving"),
        (("--ratios", "conv7=0"), "these ratios prune nothing: rounded to multiples of --divisor 4, all channels stay"),
        (("--ratios", "conv7=0.4", "--divisor", "256"), "all channels stay (102 of conv7); give larger shares"),
        (("--ratios", "conv7=1.5"), "the ratio of 'conv7' must be in 0..1"),
        (("--batch", "13"), "--batch 13 is more than the 12 photos in "),
    ],
)
def test_what_cannot_be_met_is_said_before_anything_is_written(
    words: Command,
    tmp_path: Path,
    more: "tuple[str, ...]",
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ppsplit.prune.steps.watch", None)  # what takes long
    assert says in refused(["train-prune", *words(tmp_path / "run", *more)], capsys)
    assert list(tmp_path.iterdir()) == []


def test_the_best_that_is_named_can_be_had(words: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edge = ("--target", "edge", "--target-flops", "-0%", "--tune-images", "0", "--target-payload")
    said = refused(["train-prune", *words(tmp_path / "run", *edge, "-99%")], capsys)
    best = re.findall(r"--target-payload -99% cannot be met: .* (-[0-9.]+%) is the best", said)[0]
    assert main(["train-prune", *words(tmp_path / "run", *edge, best)]) == 0


def test_nothing_kept_is_an_error(
    words: Command, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ppsplit.prune.steps.POINTS", -1e9)  # a random network has no AP to lose
    aps = iter([{"ap": 0.2}, {"ap": 0.3}])
    monkeypatch.setattr("ppsplit.prune.steps.network_ap", lambda *_, **__: next(aps))
    monkeypatch.setattr("ppsplit.prune.sensitivity.network_ap", lambda *_, **__: {"ap": 0.2})
    run = tmp_path / "run"
    more = ("--tune-images", "0", "--root", str(shapes), "--val-split", "val", "--max-ap-drop", "1")
    assert main(["train-prune", *words(run, *more)]) == 1
    said = capsys.readouterr()
    assert "lost more than 1 points of AP; nothing is kept" in said.err and f"is in {run}" in said.err
    assert "--max-ap-drop" in said.err and "--resume" in said.err and "pruned by" in said.out  # the table is there
    assert not (run / "model.npz").exists() and (run / "step1" / "model.npz").is_file()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--ratios", "conv99=0.5"), "no layer that can be pruned is called 'conv99'"),
        (("--cut", "pool9"), "there is no cut 'pool9'"),
        (("--weights", "gone.npz"), "--weights gone.npz does not exist"),
        (("--images", "gone"), "no photos in gone: give a folder"),
        (("--root", "gone", "--max-ap-drop", "1"), "no data: neither gone/val2017/instances.json"),
    ],
)
def test_what_cannot_be_used(
    words: Command, tmp_path: Path, more: "tuple[str, ...]", says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in refused(["train-prune", *words(tmp_path / "run", *more)], capsys)


def test_a_folder_without_photos(words: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(["train-prune", *words(tmp_path / "run", "--images", str(tmp_path))], capsys)
    assert f"no image in {tmp_path}" in said


def test_help_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train-prune", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "--max-ap-drop" in said and "photos without labels" in said


@pytest.mark.parametrize(
    ("verb", "next_command"),
    [
        (["train"], "ppsplit make-shapes"),
        (["train-prune"], "python tools/download_coco.py"),
        (["export-split", "--prune", "--quant", "int8"], "python tools/train_prune.py --model yolov3_tiny"),
    ],
)
def test_an_empty_folder(
    verb: List[str],
    next_command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert next_command in refused(verb, capsys)
    assert list(tmp_path.iterdir()) == []  # nothing was fetched


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"identity": {}, "rows": []}', '{"identity": {}, "rows": [{"step": 0}]}']
)
def test_damaged_steps(
    uninterrupted: Path, words: Command, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "steps.json").write_text(text)
    said = refused(["train-prune", *words(run, "--tune-images", "48", "--resume")], capsys)
    assert f"{run / 'steps.json'} is damaged" in said and "begin again" in said


def test_what_another_run_left_is_not_taken_for_this_ones(uninterrupted: Path, words: Command, tmp_path: Path) -> None:
    run, fresh = tmp_path / "run", tmp_path / "fresh"
    (run / "step1").mkdir(parents=True)
    shutil.copy(uninterrupted / "step1" / "start.npz", run / "step1")
    for folder in (run, fresh):
        assert main(["train-prune", *words(folder, "--tune-images", "0", "--ratios", "conv6=0.5")]) == 0
    assert (run / "model.npz").read_bytes() == (fresh / "model.npz").read_bytes()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [(("--seed", "-1"), "below 0"), (("--flip", "2"), "0..1"), (("--input-hw", "100,60"), "multiples of 32")],
)
def test_numbers_out_of_range(
    words: Command, wrong: "tuple[str, str]", message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert message in refused(["train-prune", *words(run, *wrong)], capsys)
    assert not run.exists()
