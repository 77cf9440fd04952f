"""`infer` and the demo: what they refuse before anything is computed, and pictures that they leave alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import List

import pytest

from ppsplit.cli import main
from ppsplit.errors import ConfigError
from ppsplit.evaluate.demo import run_demo
from ppsplit.image import list_images
from tests.tiny_bundle import write_photos


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--rounds", "0"], "rounds is 0"),
        (["--max-detections", "-1"], "max_detections must be a whole number from 1"),
        (["--score-threshold", "7"], "score_threshold must be a number from 0 to 1"),
        (["--threads", "-3"], "threads is -3"),
    ],
)
def test_values_out_of_range_are_one_line(
    argv: List[str], expected: str, tiny_bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = ["infer", "--bundle", str(tiny_bundle), "--input", str(photos), "--output", str(tmp_path / "out")]
    assert main([*whole, *argv]) == 1
    assert capsys.readouterr().err.startswith(f"error: {expected}")


def test_the_pictures_are_never_drawn_over(tiny_bundle: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    argv = ["infer", "--bundle", str(tiny_bundle), "--input", str(photos), "--output", str(photos / "." / "")]
    assert main(argv) == 1
    assert "where the input lies" in capsys.readouterr().err
    steps: List[str] = []
    with pytest.raises(ConfigError, match="where the input lies"):
        run_demo(list_images(photos), photos, photos / "bundle", steps.append)
    assert not steps
    assert {path.name: path.read_bytes() for path in photos.iterdir()} == before
    assert main([*argv, "--draw", "false"]) == 0  # nothing is drawn, nothing is lost
    assert len(json.loads((photos / "detections.json").read_text())["images"]) == len(before)
