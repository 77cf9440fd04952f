"""Options of a fine-tuning with quantizers that takes seconds; networks and photos are those of the prunings' tests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Callable, List

import pytest

from tests.prune.conftest import ROOT, checkpoint, photos, shapes, tiny  # noqa: F401  fixtures
from tests.train.conftest import finish

Command = Callable[..., List[str]]


@pytest.fixture(scope="session")
def words(checkpoint: Path, photos: Path) -> Command:  # noqa: F811
    """9 photos to learn from, 3 held out."""

    def options(output: Path, *more: str) -> List[str]:
        chosen = ["--weights", str(checkpoint), "--images", str(photos), "--output", str(output)]
        small = ["--held-out", "3", "--calibration-count", "4", "--algorithm", "aciq", "--tune-images", "16"]
        return [*chosen, *small, "--batch", "4", "--warmup-steps", "2", "--save-every", "2", *more]

    return options


def tool(words: List[str]) -> List[str]:
    """The command line of a fine-tuning in a process of its own."""
    return [sys.executable, str(ROOT / "tools" / "train_qat.py"), *words]


@pytest.fixture(scope="session")
def uninterrupted(words: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 images learnt from, four at a time, quantized in front of pool4."""
    output = tmp_path_factory.mktemp("whole") / "run"
    finish(tool(words(output, "--tune-images", "48", "--cut", "pool4")), output.parent)
    return output
