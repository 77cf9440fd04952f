"""Killed at any moment and resumed, a training ends with the same bits."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from ppsplit.train.log import read_log
from ppsplit.train.loss import PARTS

from .conftest import Command, finish


def kill_after(command: list, log: Path, rows: int, folder: Path) -> None:
    """Start a training and kill it once its log has so many rows."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while process.poll() is None and len(read_log(log)) < rows and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"


def check_same(one: Path, other: Path) -> None:
    for name in ("last.npz", "model.npz"):
        with np.load(one / name) as a, np.load(other / name) as b:
            assert a.files == b.files
            for key in a.files:
                np.testing.assert_array_equal(a[key], b[key], err_msg=f"{name} {key}")
    columns = ("step", "epoch", "lr", "loss", *PARTS, "input_side")  # all but the speed
    for log in ("steps.csv", "ap.csv"):
        rows = [[{c: r[c] for c in r if c in columns or c == "ap"} for r in read_log(d / log)] for d in (one, other)]
        assert rows[0] == rows[1]


@pytest.fixture(scope="module")
def uninterrupted(train_command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("whole")
    finish(train_command(output / "run"), output)
    return output / "run"


def test_killed_once(train_command: Command, uninterrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    # 5 steps an epoch, saved after 2, 4 and 5: the 8th is between two checkpoints
    kill_after(train_command(run, "--resume"), run / "steps.csv", 8, tmp_path)
    assert "going on from" in finish(train_command(run, "--resume"), tmp_path)
    check_same(uninterrupted, run)


@pytest.mark.slow
@pytest.mark.parametrize("moments", [(1, 3, 6, 11), (2, 5, 10, 13)])
def test_killed_again_and_again(train_command: Command, uninterrupted: Path, tmp_path: Path, moments: tuple) -> None:
    run = tmp_path / "run"
    for rows in moments:
        kill_after(train_command(run, "--resume", "--workers", "1"), run / "steps.csv", rows, tmp_path)
    finish(train_command(run, "--resume"), tmp_path)
    check_same(uninterrupted, run)


def test_what_a_training_leaves(uninterrupted: Path) -> None:
    assert {p.name for p in uninterrupted.iterdir()} >= {"last.npz", "model.npz", "steps.csv", "ap.csv", "plots"}
    assert {p.name for p in (uninterrupted / "plots").iterdir()} == {"loss.png", "ap.png"}
    assert len(read_log(uninterrupted / "steps.csv")) == 15 and len(read_log(uninterrupted / "ap.csv")) == 3
