"""One small network as `.nb` for both targets."""

from __future__ import annotations

from pathlib import Path
from typing import Dict

import pytest

from ppsplit.export.lite import convert_to_nb
from ppsplit.paddle_first import paddle
from tests.export.conftest import SkipNet, freeze_network


@pytest.fixture(scope="session")
def nb_files(tmp_path_factory: pytest.TempPathFactory) -> Dict[str, Path]:
    """Target to file; input `image` float32 [N, 3, 32, 48]."""
    folder = tmp_path_factory.mktemp("nb")
    paddle.seed(0)
    prefix = freeze_network(SkipNet(), folder / "traced").save(folder) / "model"
    return {target: convert_to_nb(prefix, folder / f"model.{target}.nb", target) for target in ("x86", "arm")}
