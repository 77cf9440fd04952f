"""Real weights, real photos, and a bundle of the real yolov3-tiny, made once a run."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from tests.tiny_bundle import Server, export_tiny, serving, write_photos

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def yolo_weights() -> Path:
    from ppsplit.zoo import download

    return download("yolov3-tiny", ROOT / "complete_model")


@pytest.fixture(scope="session")
def tiny_yolo_bundle(yolo_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """yolov3-tiny cut after pool4: fp32 and int8 heads for Paddle and Paddle Lite."""
    from ppsplit.data.sample_photos import sample_photos
    from ppsplit.export.network import freeze_model
    from ppsplit.export.split import SplitPlan, export_bundle

    photos = tuple(sample_photos())
    plan = SplitPlan(("pool4",), ("int8",), ("x86",), False, photos, photos[:2])
    folder = tmp_path_factory.mktemp("bundles") / "yolov3_tiny"
    return export_bundle(freeze_model("yolov3_tiny", yolo_weights), plan, folder, lambda line: None).root


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small detector of family yolov3 with the cuts deep, stem and output."""
    return export_tiny("yolov3", tmp_path_factory.mktemp("tiny-yolov3"))


@pytest.fixture(scope="session")
def raw_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network with decode family raw."""
    return export_tiny("raw", tmp_path_factory.mktemp("tiny-raw"))


@pytest.fixture(scope="session")
def onnx_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_bundle`'s network with ONNX files and int8 heads; skipped where the extra is not installed."""
    for package in ("onnxruntime", "paddle2onnx"):
        pytest.importorskip(package, reason="the extra ppsplit[onnx] is not installed")
    return export_tiny("yolov3", tmp_path_factory.mktemp("tiny-onnx"), ("int8",), onnx=True)


@pytest.fixture(scope="session")
def tiny_server(tiny_bundle: Path) -> Iterator[Server]:
    """`tiny_bundle` served in a process of its own."""
    with serving(tiny_bundle) as server:
        yield server


@pytest.fixture(scope="session")
def noise_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen pictures without anything on them."""
    return write_photos(tmp_path_factory.mktemp("photos"), 16)


@pytest.fixture(scope="session")
def learned_bundle(tiny_bundle: Path, noise_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_bundle`, its cut "deep" calibrated."""
    import shutil

    from ppsplit.cli import main

    root = tmp_path_factory.mktemp("learned") / "bundle"
    shutil.copytree(tiny_bundle, root)
    assert main(["calibrate", str(root), "--images", str(noise_photos), "--count", "12"]) == 0
    return root
