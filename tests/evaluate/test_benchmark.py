"""Every runtime on every half: the figures, and what stands there where there are none."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest

from ppsplit.bundle import FULL, HEAD, TAIL, Bundle
from ppsplit.cli import main
from ppsplit.errors import InferenceRuntimeError
from ppsplit.evaluate import benchmark
from ppsplit.evaluate.benchmark import Half, benchmark_rows
from ppsplit.runtime.onnx import OnnxRuntime

FIGURES = {"bytes", "ms_median", "ms_p95", "peak_mib", "framework_mib", "max_error", "max_relative_error"}
IMAGES = list(np.random.default_rng(1).random((2, 1, 3, 32, 48), np.float32))


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a process for each program, which is tested by itself."""
    monkeypatch.setattr(benchmark, "memory_of", lambda *_: {"peak_mib": 1.0, "framework_mib": 0.5})


def rows_of(bundle: Path, cut: str) -> List[Dict[str, Any]]:
    steps: List[Any] = []
    rows = benchmark_rows(Bundle.open(bundle), [cut], IMAGES, 2, 1, lambda *step: steps.append(step))
    assert [number for _, number, _ in steps] == sorted({number for _, number, _ in steps})
    assert steps[-1][1] <= steps[-1][2]
    return rows


def one(rows: List[Dict[str, Any]], **wanted: str) -> Dict[str, Any]:
    (row,) = [row for row in rows if wanted.items() <= row.items()]
    return row


def test_every_program_has_its_figures(onnx_bundle: Path, in_process: None) -> None:
    rows = rows_of(onnx_bundle, "deep")
    exact = one(rows, part=HEAD, runtime="paddle", precision="fp32")
    assert exact["max_error"] == 0 and exact["status"] == "ok"
    for runtime, precision in (("onnx", "fp32"), ("lite", "fp32"), ("lite", "int8"), ("paddle", "int8")):
        row = one(rows, cut="deep", part=HEAD, runtime=runtime, precision=precision)
        assert row["status"] == "ok" and row.keys() >= FIGURES
        assert 0 < row["ms_median"] <= row["ms_p95"]
        assert (row["max_relative_error"] > 1e-4) == (precision == "int8")
    bundle = Bundle.open(onnx_bundle)
    tail = bundle.path(bundle.program(bundle.cut("deep"), TAIL, "onnx").files["onnx"])
    assert one(rows, part=TAIL, runtime="onnx")["bytes"] == tail.stat().st_size
    assert one(rows, part=FULL, runtime="onnx")["cut"] == ""
    assert one(rows, part=TAIL, runtime="lite")["status"] == "not in the bundle"


def test_a_half_without_work_is_a_row_that_says_so(onnx_bundle: Path, in_process: None) -> None:
    row = one(rows_of(onnx_bundle, "output"), cut="output", part=TAIL)
    assert row["status"] == "nothing to compute" and not FIGURES & row.keys()


def test_a_runtime_that_is_not_installed_is_a_row_with_the_reason(
    onnx_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    half = Half(Bundle.open(onnx_bundle), Bundle.open(onnx_bundle).cut("deep"), TAIL)
    with pytest.raises(InferenceRuntimeError, match="install onnxruntime"):
        benchmark.memory_of(half, "onnx", "fp32", 1)


def test_one_that_is_off_or_fails_costs_the_others_nothing(
    onnx_bundle: Path, in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, factor = OnnxRuntime.run, 1.0
    monkeypatch.setattr(
        *(OnnxRuntime, "run"), lambda self, feeds: {n: factor * v for n, v in right(self, feeds).items()}
    )
    factor = 1.01
    assert "off: more than 1e-04" in one(rows_of(onnx_bundle, "deep"), part=TAIL, runtime="onnx")["status"]
    factor = np.nan
    rows = rows_of(onnx_bundle, "deep")
    assert "not finite" in one(rows, part=TAIL, runtime="onnx")["status"]
    assert "ms_median" not in one(rows, part=TAIL, runtime="onnx")
    assert one(rows, part=TAIL, runtime="paddle")["ms_median"] > 0


def test_memory_is_of_a_process_that_runs_this_half(onnx_bundle: Path) -> None:
    bundle = Bundle.open(onnx_bundle)
    half = Half(bundle, bundle.cut("stem"), TAIL)
    found = benchmark.memory_of(half, "onnx", "fp32", 1)
    assert 20 < found["framework_mib"] <= found["peak_mib"] < 400
    with pytest.raises(InferenceRuntimeError, match="no tail for onnx/int8"):
        benchmark.memory_of(half, "onnx", "int8", 1)


@pytest.mark.slow
def test_the_verb(onnx_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["benchmark", str(onnx_bundle), "--cut", "stem", "--runs", "2", "--json", str(tmp_path / "table.json")]
    assert main(words) == 0
    written = json.loads((tmp_path / "table.json").read_text())
    assert written["about"]["runs"] == 2
    assert one(written["rows"], part=HEAD, runtime="onnx")["peak_mib"] > 20
    assert "max_relative_error" in capsys.readouterr().out


def test_numbers_that_make_no_sense_are_one_line(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", str(tiny_bundle), "--runs", "0"]) == 1
    assert main(["benchmark", str(tiny_bundle), "--cut", "nose"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert errors[0].startswith("error: --runs is 0") and "no cut 'nose'" in errors[-1]
