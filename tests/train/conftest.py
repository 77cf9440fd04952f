"""A set so small that an epoch takes a second, the command that trains on it in a process of its own, and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, List

import numpy as np
import pytest

from ppsplit.data.shapes import ShapesPlan, make_shapes
from ppsplit.train.log import read_log
from ppsplit.train.loss import PARTS

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = (
    *("--scratch", "--width", "0.1", "--epochs", "3", "--batch", "4", "--input-sizes", "64,96", "--lr", "0.005"),
    *("--warmup-steps", "4", "--mosaic", "0.3", "--mixup", "0.3", "--save-every", "2"),
)

Command = Callable[..., List[str]]


@pytest.fixture(scope="session")
def small_shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 training and 5 held-out images of 64 by 64."""
    root = tmp_path_factory.mktemp("data") / "shapes"
    make_shapes(root, ShapesPlan(train=20, val=5, side=64, objects=3))
    return root


@pytest.fixture(scope="session")
def train_command(small_shapes: Path) -> Command:
    """The command line of a small training, to be started with `subprocess` in `ROOT`."""

    def command(output: Path, *more: str, launcher: List[str] = []) -> List[str]:  # noqa: B006  only read
        tool = [str(ROOT / "tools" / "train.py"), "--root", str(small_shapes), "--output", str(output)]
        return [sys.executable, *launcher, *tool, *SETTINGS, *more]

    return command


def finish(command: List[str], folder: Path) -> str:
    """Run a command to its end; what it printed. Fails the test when it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def kill_after(command: List[str], log: Path, rows: int, folder: Path) -> int:
    """Start a training and kill it once its log has so many rows, and what it started; how many those were."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while process.poll() is None and len(read_log(log)) < rows and time.monotonic() < deadline:
        time.sleep(0.005)
    started = children(process.pid)  # while it lives; afterwards nobody knows whose they were
    process.send_signal(signal.SIGKILL)
    for child in started:
        os.kill(child, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    return len(started)


def children(parent: int) -> List[int]:
    """The processes that a process started and that still run, as Linux lists them; a launcher has some."""
    listed = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(child) for child in listed.read_text().split()] if listed.is_file() else []


def check_same(one: Path, other: Path) -> None:
    """Two trainings left the same bits and the same logs."""
    for name in ("last.npz", "model.npz"):
        with np.load(one / name) as a, np.load(other / name) as b:
            assert a.files == b.files
            for key in a.files:
                np.testing.assert_array_equal(a[key], b[key], err_msg=f"{name} {key}")
    columns = ("step", "epoch", "lr", "loss", *PARTS, "input_side")  # all but the speed
    for log in ("steps.csv", "ap.csv"):
        rows = [[{c: r[c] for c in r if c in columns or c == "ap"} for r in read_log(d / log)] for d in (one, other)]
        assert rows[0] == rows[1]
