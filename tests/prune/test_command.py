"""`ppsplit train-prune` as it is typed: what it leaves, killed and resumed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest

from ppsplit.cli import main
from ppsplit.distill.distances import PARTS
from ppsplit.models import class_names_of
from ppsplit.models.checkpoint import read_checkpoint
from ppsplit.models.weights import load_network
from ppsplit.train.log import read_log
from tests.train.conftest import finish, kill_after

from .conftest import NAMES, ROOT, SIDE, Command, difference, heads, state, tool


def pruned(words: List[str]) -> List[Dict[str, Any]]:
    """Prune in this process; the printed rows."""
    table = Path(words[words.index("--output") + 1]) / "printed.json"
    assert main(["train-prune", *words, "--json", str(table)]) == 0
    return json.loads(table.read_text())["rows"] if table.is_file() else []


def test_what_a_pruning_leaves(uninterrupted: Path, checkpoint: Path) -> None:
    files = {path.relative_to(uninterrupted).as_posix() for path in uninterrupted.rglob("*") if path.is_file()}
    step = {f"step1/{name}" for name in ("model.npz", "start.npz", "untuned.npz", "steps.csv")}
    assert files == {
        "model.npz",
        "steps.json",
        "plots/steps.png",
        *step,
        "step1/sensitivity.json",
        "step1/sensitivity.png",
    }
    rows = json.loads((uninterrupted / "steps.json").read_text())["rows"]
    assert [row["step"] for row in rows] == [0, 1] and rows[1]["macs"] <= 0.75 * rows[0]["macs"]
    assert [int(row["step"]) for row in read_log(uninterrupted / "step1" / "steps.csv")] == list(range(1, 13))


def test_the_structure_is_in_the_checkpoint(uninterrupted: Path, checkpoint: Path) -> None:
    saved = read_checkpoint(uninterrupted / "model.npz")
    network = saved.build()
    network.eval()
    whole = read_checkpoint(checkpoint).build()
    narrower = [name for name, array in saved.tensors.items() if array.size < state(whole)[name].size]
    assert narrower and all(saved.tensors[name].shape == array.shape for name, array in state(network).items())
    assert (saved.preprocess.input_hw, class_names_of(network)) == ((SIDE, SIDE), NAMES)
    for widths in (
        array.shape[0] for name, array in saved.tensors.items() if name.split(".")[0] not in ("head16", "head32")
    ):
        assert widths % 4 == 0 or widths in {array.shape[0] for array in state(whole).values()}
    for_training, preprocess = load_network("yolov3_tiny", uninterrupted / "model.npz")
    for_training.eval()
    assert difference(heads(for_training), heads(network)) == 0 and preprocess == saved.preprocess


def test_it_learnt_and_kept_the_statistics(uninterrupted: Path) -> None:
    begun = dict(np.load(uninterrupted / "step1" / "untuned.npz"))
    ended = dict(np.load(uninterrupted / "model.npz"))
    started = dict(np.load(uninterrupted / "step1" / "start.npz"))
    for name, array in begun.items():
        if name != "__header__":
            np.testing.assert_array_equal(array, started[f"tensor/{name}"])
            assert array.shape == ended[name].shape
    changed = {name for name, array in begun.items() if not np.array_equal(array, ended[name])}
    assert "head16.conv.weight" in changed and "head16_conv.bn.weight" in changed
    moved = [n for n in changed if n.endswith(("._mean", "._variance"))]
    for name in moved:  # an average of equal numbers, rounded; the photos' statistics would be far off
        np.testing.assert_allclose(ended[name], begun[name], rtol=1e-5, atol=1e-6)
    losses = [float(row["loss"]) for row in read_log(uninterrupted / "step1" / "steps.csv")]
    assert losses[-1] < losses[0]


def check_same(one: Path, other: Path) -> None:
    with np.load(one / "model.npz") as a, np.load(other / "model.npz") as b:
        assert a.files == b.files
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    logs = [read_log(folder / "step1" / "steps.csv") for folder in (one, other)]
    columns = ("step", "epoch", "lr", "loss", *PARTS, "input_side")
    assert [{c: row[c] for c in columns} for row in logs[0]] == [{c: row[c] for c in columns} for row in logs[1]]


def test_killed_and_resumed(words: Command, uninterrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = tool(words(run, "--tune-images", "48", "--resume"))
    log = run / "step1" / "steps.csv"
    kill_after(command, log, 3, tmp_path)  # saved after 2, 4, 6, ...
    assert (run / "step1" / "state.npz").is_file() and not (run / "model.npz").exists()
    learnt = read_log(log)[:2]
    finish(command, tmp_path)
    check_same(uninterrupted, run)
    assert read_log(log)[:2] == learnt  # the speed, too: these were not learnt again
    assert not (run / "step1" / "state.npz").exists()


@pytest.mark.slow
def test_killed_again_and_again(words: Command, uninterrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = tool(words(run, "--tune-images", "48", "--resume", "--workers", "1"))
    for rows in (1, 3, 6, 7):
        kill_after(command, run / "step1" / "steps.csv", rows, tmp_path)
    finish(command, tmp_path)
    check_same(uninterrupted, run)


def test_a_finished_one_resumed_changes_nothing(uninterrupted: Path, words: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(uninterrupted, run)
    rows = pruned(words(run, "--tune-images", "48", "--resume"))
    assert [row["kept"] for row in rows] == [False, True]
    check_same(uninterrupted, run)


def test_ratios_and_no_fine_tuning(words: Command, tmp_path: Path, checkpoint: Path) -> None:
    whole = read_checkpoint(checkpoint).tensors
    more = ("--ratios", "conv[67]=0.5,lateral=0.3,conv7=0.75", "--tune-images", "0", "--criterion", "l1")
    rows = pruned(words(tmp_path / "run", *more))
    tensors = read_checkpoint(tmp_path / "run" / "model.npz").tensors
    widths = {n: tensors[f"{n}.conv.weight"].shape[0] for n in ("conv5", "conv6", "conv7", "lateral")}
    assert widths == {"conv5": whole["conv5.conv.weight"].shape[0], "conv6": 24, "conv7": 24, "lateral": 8}
    assert rows[1]["parameters"] < rows[0]["parameters"]
    untuned = read_checkpoint(tmp_path / "run" / "step1" / "untuned.npz").tensors
    assert all(np.array_equal(array, untuned[name]) for name, array in tensors.items())


def test_what_stands_in_front_of_the_pruned_layers_stays_to_the_bit(
    words: Command, tmp_path: Path, checkpoint: Path
) -> None:
    run = tmp_path / "run"
    pruned(words(run, "--tune-images", "24", "--ratios", "conv7=0.5"))
    whole, ended = dict(np.load(checkpoint)), dict(np.load(run / "model.npz"))
    for name, array in whole.items():
        if name.startswith(("conv1.", "conv4.")):  # conv5 is read again behind them, by the second head
            np.testing.assert_array_equal(array, ended[name], err_msg=name)
    assert not np.array_equal(whole["head16.conv.weight"], ended["head16.conv.weight"])


def test_the_edge_alone(words: Command, tmp_path: Path) -> None:
    more = ("--target", "edge", "--target-payload", "-50%", "--cut", "conv7", "--tune-images", "0", "--divisor", "2")
    rows = pruned(words(tmp_path / "run", *more))
    assert rows[1]["edge_macs"] <= 0.75 * rows[0]["edge_macs"]
    assert rows[1]["payload_elements"] <= 0.5 * rows[0]["payload_elements"]
    measured = json.loads((tmp_path / "run" / "step1" / "sensitivity.json").read_text())["rows"]
    assert {row["group"] for row in measured} <= {"", *(f"conv{i}" for i in range(1, 8))}


@pytest.mark.slow
def test_all_three_commands_on_the_downloadable_model(yolo_weights: Path, tmp_path: Path) -> None:
    def run(name: str, *more: str) -> str:
        return finish([sys.executable, str(ROOT / "tools" / name), *more], tmp_path)

    (tmp_path / "complete_model").symlink_to(yolo_weights.parent)
    run("make_shapes.py", "--train", "8", "--val", "2", "--side", "96")
    run("train.py", "--epochs", "1", "--batch", "4", "--input-sizes", "64")
    small = ["--images", "dataset/shapes/train/images", "--probe-images", "2", "--input-sizes", "64"]
    small += ["--tune-images", "8", "--batch", "4", "--divisor", "64"]
    said = run("train_prune.py", *small, "--input-hw", "96,96")
    assert "pruned_model/yolov3_tiny/model.npz" in said
    pruned_tensors = read_checkpoint(tmp_path / "pruned_model" / "yolov3_tiny" / "model.npz").tensors
    assert pruned_tensors["conv7.conv.weight"].size < 1024 * 512 * 9
    said = run("export_split.py", "--prune", "--quant", "int8", "--certify-count", "1", "--calibration-count", "1")
    assert "fingerprint" in said
    manifest = json.loads((tmp_path / "freezed" / "yolov3_tiny-split" / "manifest.json").read_text())
    assert manifest["precision"] == "int8" and len(manifest["class_names"]) == 80


def test_the_tool_is_the_verb(words: Command, tmp_path: Path) -> None:
    done = subprocess.run(tool([]), cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and done.stdout == ""
    assert done.stderr.startswith("error: no photos in dataset/coco/train2017")
