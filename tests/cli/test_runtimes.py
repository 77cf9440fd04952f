"""Either half, and the whole, in runtimes other than the default: the same objects are found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest

from ppsplit.cli import main
from ppsplit.runtime.choice import RUNTIMES
from tests.tiny_bundle import serving, write_photos


@pytest.fixture(params=["onnx", "openvino"])
def runtime(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(RUNTIMES[request.param].framework, reason=f"{request.param} is not installed")
    return str(request.param)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos", 2)


def scores(report: Path) -> List[Any]:
    images = json.loads(report.read_text())["images"]
    found = [[each["score"] for each in image["detections"]] for image in images]
    assert any(found)
    return found


def same(first: Path, second: Path) -> None:
    for found, expected in zip(scores(first), scores(second)):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_client_server_and_tail(runtime: str, onnx_bundle: Path, photos: Path, tmp_path: Path) -> None:
    client = ["client", "--bundle", str(onnx_bundle), "--input", str(photos), "--precision", "fp32", "--no-draw"]
    expected, found, features = tmp_path / "paddle.json", tmp_path / "other.json", tmp_path / "features.bin"
    assert main([*client, "--runtime", "paddle", "--local", "--json", str(expected)]) == 0
    head = [*client, "--runtime", runtime, "--encoding", "fp32", "--threads", "2"]
    with serving(onnx_bundle, runtime=runtime) as server:
        assert main([*head, "--server", server.url, "--json", str(found)]) == 0
        same(found, expected)
        assert main([*client, "--jpeg", "95", "--server", server.url, "--json", str(found)]) == 0
        assert scores(found)
        server.process.terminate()
        assert server.process.wait(timeout=10) == 0
    assert main([*head, "--save-features", str(features)]) == 0
    words = ["tail", str(features), "--bundle", str(onnx_bundle), "--runtime", runtime]
    assert main([*words, "--json", str(tmp_path / "tail.json")]) == 0
    rows = json.loads((tmp_path / "tail.json").read_text())["rows"]
    assert len(rows) == sum(map(len, scores(expected)))


def test_the_whole_network(runtime: str, onnx_bundle: Path, photos: Path, tmp_path: Path) -> None:
    whole = ["infer", "--bundle", str(onnx_bundle), "--input", str(photos), "--draw", "false"]
    assert main([*whole, "--json", str(tmp_path / "paddle.json")]) == 0
    assert main([*whole, "--runtime", runtime, "--json", str(tmp_path / "other.json")]) == 0
    same(tmp_path / "other.json", tmp_path / "paddle.json")
    assert json.loads((tmp_path / "other.json").read_text())["runtime"] == runtime


def test_serve_says_at_once_what_the_bundle_lacks(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--bundle", str(tiny_bundle), "--port", "0", "--runtime", "onnx"]) == 1
    assert "no tail for onnx/fp32 at cut 'deep'" in capsys.readouterr().err
