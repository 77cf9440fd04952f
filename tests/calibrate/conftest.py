"""A small bundle with a learned codec."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.tiny_bundle import write_photos


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"), 16)


@pytest.fixture(scope="session")
def learned_bundle(tiny_bundle: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_bundle`, its cut "deep" calibrated."""
    from ppsplit.cli import main

    root = tmp_path_factory.mktemp("learned") / "bundle"
    shutil.copytree(tiny_bundle, root)
    assert main(["calibrate", str(root), "--images", str(photos), "--count", "12"]) == 0
    return root
