"""Two processes learn what one learns from the same global batch, and go on exactly after they were killed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Dict, List

import numpy as np
import pytest

from ppsplit.train.log import read_log
from ppsplit.train.setup import fresh_network
from ppsplit.train.state import NETWORK

from .conftest import Command, check_same, finish, kill_after

# One step an epoch. The two differ by rounding only, but max-pools and leaky ReLUs have edges, and what falls to one
# side here and to the other there grows with every step: a relative change of 1e-7 in the images alone turns the first
# gradient by 3e-4. So the steps are few and the batches large.
SETTINGS = ("--epochs", "5", "--batch", "20", "--lr", "0.002")


def launcher_of_two(folder: Path) -> List[str]:
    """What to put before tools/train.py; the processes' logs go into `folder`."""
    return ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(folder / "logs")]


def trained(folder: Path) -> Dict[str, np.ndarray]:
    with np.load(folder / "last.npz") as archive:
        return {name[len(NETWORK) :]: archive[name] for name in archive.files if name.startswith(NETWORK)}


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one(train_command: Command, tmp_path: Path) -> None:
    finish(train_command(tmp_path / "one", *SETTINGS), tmp_path)
    finish(train_command(tmp_path / "two", *SETTINGS, launcher=launcher_of_two(tmp_path)), tmp_path)
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


@pytest.mark.slow
def test_two_processes_killed_and_resumed_end_with_the_same_bits(train_command: Command, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finish(train_command(whole, launcher=launcher_of_two(tmp_path)), tmp_path)
    command = train_command(broken, "--resume", launcher=launcher_of_two(tmp_path))
    for rows in (3, 8):  # 5 steps an epoch, saved after 2, 4 and 5: both are between two checkpoints
        assert kill_after(command, broken / "steps.csv", rows, tmp_path) == 2
    assert "going on from" in finish(command, tmp_path)
    check_same(whole, broken)


GATHER = """
import sys
from pathlib import Path
from ppsplit.train.parallel import Processes

processes = Processes.join()
gathered = processes.gathered_bytes(bytes([processes.rank]) * (3 + 5000 * processes.rank))
Path(sys.argv[1], f"{processes.rank}").write_text(repr([(part[:1], len(part)) for part in gathered]))
"""


@pytest.mark.slow
def test_bytes_of_any_length_are_gathered(tmp_path: Path) -> None:
    (tmp_path / "gather.py").write_text(GATHER)
    finish([sys.executable, *launcher_of_two(tmp_path), str(tmp_path / "gather.py"), str(tmp_path)], tmp_path)
    for rank in range(2):
        assert (tmp_path / f"{rank}").read_text() == repr([(b"\x00", 3), (b"\x01", 5003)])
