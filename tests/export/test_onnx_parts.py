"""A bundle with ONNX files: what is in it, and what was certified."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppsplit.bundle import FULL, HEAD, TAIL, Bundle
from ppsplit.cli import main
from ppsplit.cli.inspect import program_rows


def test_every_half_and_the_whole_is_there_and_certified(onnx_bundle: Path) -> None:
    bundle = Bundle.open(onnx_bundle)
    assert [program.runtime for program in bundle.manifest.full] == ["paddle", "onnx"]
    for cut in bundle.manifest.cuts:
        head = bundle.program(cut, HEAD, "onnx", "fp32")
        assert bundle.path(head.files["onnx"]).name == "head.onnx"
        assert bundle.program(cut, FULL, "onnx").files == {"onnx": "full.onnx"}
        tails = {"passthrough"} if cut.name == "output" else {"paddle", "onnx"}
        assert {program.runtime for program in cut.programs if program.part == TAIL} == tails
        pairs = {c.tail_runtime: c for c in cut.certificates if c.runtime == "onnx"}
        assert pairs.keys() == tails
        assert all(c.precision == "fp32" and c.max_relative_error <= 1e-4 for c in pairs.values())
    assert all(row["certified"] for row in program_rows(bundle) if row["runtime"] == "onnx" and row["part"] != FULL)
    assert bundle.manifest.precision == "int8"


def test_quantizing_it_again_keeps_the_onnx_halves(onnx_bundle: Path, tmp_path: Path) -> None:
    photos = str(onnx_bundle.parent / "photos")
    words = ["export-quant", str(onnx_bundle), "--quant", "int16", "--nb", "x86", "--output", str(tmp_path / "again")]
    assert main([*words, "--calibration-images", photos, "--certify-images", photos]) == 0
    again = Bundle.open(tmp_path / "again")
    assert again.path(again.program(again.cut(), HEAD, "onnx", "fp32").files["onnx"]).is_file()


def test_the_verb_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("paddle2onnx")
    from ppsplit.models import build_model
    from ppsplit.models.checkpoint import save_checkpoint

    save_checkpoint(build_model("yolo11n", num_classes=3, width=0.125), tmp_path / "narrow.npz")
    words = ["export-split", "--model", "yolo11n", "--weights", str(tmp_path / "narrow.npz"), "--input-hw", "64,96"]
    options = ["--format", "onnx", "--nb", "x86", "--certify-count", "1", "--output", str(tmp_path / "bundle")]
    assert main([*words, *options]) == 0, capsys.readouterr().err
    bundle = Bundle.open(tmp_path / "bundle")
    assert {c.tail_runtime for c in bundle.cut().certificates if c.runtime == "onnx"} == {"paddle", "onnx"}
