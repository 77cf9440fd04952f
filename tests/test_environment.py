"""What the set-up promises about .venv."""

from __future__ import annotations

import re
from importlib.metadata import distributions
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]


def test_exactly_one_opencv_is_installed_and_works() -> None:
    import cv2

    names = sorted({d.metadata["Name"].lower() for d in distributions() if d.metadata["Name"]})
    assert [name for name in names if name.startswith("opencv")] == ["opencv-python-headless"]
    assert cv2.resize(np.zeros((4, 4, 3), np.uint8), (2, 2)).shape == (2, 2, 3)


def test_every_locked_package_has_hashes_and_no_place() -> None:
    for name in ("requirements.txt", "requirements-gpu.txt"):
        text = (ROOT / name).read_text(encoding="utf-8")
        pins = re.findall(r"(?m)^[a-z0-9][^\s=]*==\S+.*\\$\n    --hash=sha256:[0-9a-f]{64}", text)
        assert len(pins) == len(re.findall(r"(?m)^[a-z0-9]", text)) > 0
        assert not re.search(r"://|find-links|index-url| @ |(?m:^-e)", text)


def test_no_opencv_with_a_window_system_is_locked() -> None:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^(opencv[^=]*)==", text) == ["opencv-python-headless"]
