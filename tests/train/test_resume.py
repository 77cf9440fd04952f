"""Killed at any moment and resumed, a training ends with the same bits."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppsplit.train.log import read_log

from .conftest import Command, check_same, finish, kill_after


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
