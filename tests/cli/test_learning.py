"""The line that a training or a pruning ends with, typed as it stands."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from ppsplit.cli import main
from ppsplit.cli.learning import next_command
from tests.prune.conftest import Command, checkpoint, photos, shapes, words  # noqa: F401  fixtures


def test_what_is_not_the_default_is_named() -> None:
    model = Path("a b/model.npz")
    assert next_command("export", "yolov3_tiny", model) == "ppsplit export --weights 'a b/model.npz'"
    assert next_command("export-split", "yolov3_darknet53", Path("m.npz"), "--cut", "stage3") == (
        "ppsplit export-split --model yolov3_darknet53 --weights m.npz --cut stage3"
    )


def test_the_last_line_of_a_pruning_is_a_command_that_works(
    words: Command,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    more = ("--ratios", "conv7=0.5", "--tune-images", "0", "--cut", "conv7")
    assert main(["train-prune", *words(tmp_path / "the run", *more)]) == 0
    program, *typed = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert program == "ppsplit" and main(typed) == 0
    assert "conv7" in capsys.readouterr().out
