"""The command behind the README's pruning table: what it refuses before it prunes, and the minutes that it tells."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import List

import pytest

from ppsplit.cli import run_script
from ppsplit.data.shapes import ShapesPlan, make_shapes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prune_benchmark", ROOT / "benchmarks" / "prune_yolov3_tiny.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "shapes"
    make_shapes(root, ShapesPlan(train=2, val=3, side=64, objects=3))
    return root


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--limit", "0"], "--limit 0: at least 1 is needed"),
        (["--limit", "-3", "--calibration-count", "0"], "--calibration-count 0, --limit -3: at least 1 is needed"),
        (["--calibration-count", "-1"], "--calibration-count -1: at least 1 is needed"),
        (["--resamples", "0"], "resamples 0: at least 1 is needed"),
        (["--rounds", "0", "--resamples", "-1"], "resamples -1, rounds 0: at least 1 is needed"),
        (["--rows", "l2"], "there is no row 'l2'; choose from l1, fpgm, bn, edge"),
    ],
)
def test_numbers_that_cannot_be(
    benchmark: ModuleType,
    data: Path,
    words: List[str],
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(benchmark, "find_weights", None)  # nothing is fetched or pruned
    given = ["--data", str(data / "val"), "--images", str(data / "train" / "images"), "--output", str(tmp_path / "out")]
    assert run_script(benchmark.prune_yolov3_tiny, [*given, *words], "prune") == 1
    assert says in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_minutes_are_noted_or_by_the_speed(benchmark: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "step1" / "steps.csv"
    log.parent.mkdir()
    log.write_text("step,images_per_s\n1,4.0\n2,8.0\n")  # of before seconds were noted
    assert benchmark._tune_minutes(tmp_path, 240) == (60 + 30) / 60
    log.write_text("step,images_per_s,seconds\n1,4.0,\n2,8.0,45\n")  # begun before, and gone on with
    assert benchmark._tune_minutes(tmp_path, 240) == (60 + 45) / 60
