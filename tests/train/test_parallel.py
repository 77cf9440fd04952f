"""Two processes learn what one learns from the same global batch."""

from __future__ import annotations

from pathlib import Path
from typing import Dict

import numpy as np
import pytest

from ppsplit.train.log import read_log
from ppsplit.train.setup import fresh_network
from ppsplit.train.state import NETWORK

from .conftest import Command, finish

# One step an epoch. The two differ by rounding only, but max-pools and leaky ReLUs have edges, and what falls to one
# side here and to the other there grows with every step: a relative change of 1e-7 in the images alone turns the first
# gradient by 3e-4. So the steps are few and the batches large.
SETTINGS = ("--epochs", "5", "--batch", "20", "--lr", "0.002")


def trained(folder: Path) -> Dict[str, np.ndarray]:
    with np.load(folder / "last.npz") as archive:
        return {name[len(NETWORK) :]: archive[name] for name in archive.files if name.startswith(NETWORK)}


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one(train_command: Command, tmp_path: Path) -> None:
    finish(train_command(tmp_path / "one", *SETTINGS), tmp_path)
    launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path / "logs")]
    finish(train_command(tmp_path / "two", *SETTINGS, launcher=launcher), tmp_path)
    one, two = (read_log(tmp_path / run / "steps.csv") for run in ("one", "two"))
    losses = [np.array([float(row["loss"]) for row in rows]) for rows in (one, two)]
    np.testing.assert_allclose(losses[1][:1], losses[0][:1], rtol=1e-6)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)

    start = fresh_network("yolov3_tiny", 4, 0.1, 0).state_dict()
    before, after = trained(tmp_path / "one"), trained(tmp_path / "two")
    moved = np.sqrt(sum(((before[name] - start[name].numpy()) ** 2).sum() for name in before))
    apart = np.sqrt(sum(((before[name] - after[name]) ** 2).sum() for name in before))
    assert apart < 0.01 * moved, f"they moved by {moved} and are {apart} apart"
    first, second = (read_log(tmp_path / run / "ap.csv") for run in ("one", "two"))
    np.testing.assert_allclose(float(second[-1]["ap"]), float(first[-1]["ap"]), atol=0.01)
