"""Two processes learn what one learns from the same global batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ppsplit.train.log import read_log

from .conftest import Command, finish

# one learning rate that is not chaotic: rounding differs between the two, and a long training would amplify it
SETTINGS = ("--epochs", "2", "--lr", "0.001")


def test_two_processes_have_the_loss_curve_of_one(train_command: Command, tmp_path: Path) -> None:
    finish(train_command(tmp_path / "one", *SETTINGS), tmp_path)
    launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path / "logs")]
    finish(train_command(tmp_path / "two", *SETTINGS, launcher=launcher), tmp_path)
    one, two = (read_log(tmp_path / run / "steps.csv") for run in ("one", "two"))
    assert [row["step"] for row in one] == [row["step"] for row in two] == [str(step) for step in range(1, 11)]
    losses = [np.array([float(row["loss"]) for row in rows]) for rows in (one, two)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    with np.load(tmp_path / "one" / "model.npz") as a, np.load(tmp_path / "two" / "model.npz") as b:
        for name in a.files:
            np.testing.assert_allclose(b[name], a[name], rtol=1e-3, atol=1e-4, err_msg=name)
    first, second = (read_log(tmp_path / run / "ap.csv") for run in ("one", "two"))
    np.testing.assert_allclose(float(second[-1]["ap"]), float(first[-1]["ap"]), atol=0.02)
