"""Real weights, photos, and the original darknet program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Callable, Dict, Sequence

import cv2
import numpy as np
import pytest
import skimage

from ppsplit.errors import DownloadError
from ppsplit.image import read_image
from ppsplit.models import build_model
from ppsplit.models.weights import load_weights
from ppsplit.paddle_first import paddle
from ppsplit.zoo import download
from tests.models.darknet_original import LIBRARY

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = Path(skimage.__file__).parent / "data"

Darknet = Callable[..., Dict[str, np.ndarray]]


@pytest.fixture(scope="session")
def tiny_weights() -> Path:
    """yolov3-tiny.weights, fetched if need be."""
    try:
        return download("yolov3-tiny", ROOT / "complete_model")
    except DownloadError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def tiny(tiny_weights: Path) -> paddle.nn.Layer:
    """YOLOv3-tiny with the published weights. Not to be changed."""
    network = build_model("yolov3_tiny")
    network.eval()
    load_weights(network, tiny_weights)
    return network


@pytest.fixture
def photo(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """One of scikit-image's photos, by name, as a plain PNG."""
    pixels = read_image(PHOTOS / f"{request.param}.png")
    path = tmp_path / f"{request.param}.png"
    cv2.imwrite(str(path), pixels[:, :, ::-1])
    return path


@pytest.fixture
def darknet(tmp_path: Path) -> Darknet:
    """run(cfg_text, weights, heads, *options) -> what the original program computed, see darknet_original."""
    if not LIBRARY.exists():
        pytest.skip("the original darknet is not installed (apt install darknet)")

    def run(cfg: str, weights: Path, heads: Sequence[int], *options: object) -> Dict[str, np.ndarray]:
        cfg_path, out = tmp_path / "original.cfg", tmp_path / "original.npz"
        cfg_path.write_text(cfg)
        script = Path(__file__).with_name("darknet_original.py")
        command = [sys.executable, script, cfg_path, weights, out, "--heads", *heads, *options]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        with np.load(out) as values:
            return dict(values)

    return run
