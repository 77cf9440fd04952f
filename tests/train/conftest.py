"""A set so small that an epoch takes a second, and the command that trains on it in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Callable, List

import pytest

from ppsplit.data.shapes import ShapesPlan, make_shapes

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
