"""Programs to examine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest

from ppsplit.paddle_first import paddle
from tests.export.conftest import conv, freeze_network

Save = Callable[..., Path]


class Staged(paddle.nn.Layer):  # type: ignore[misc]
    """Two stages; the second ends with the function under examination."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.stem, self.deep = conv(3, 8), Deep(function)

    def forward(self, image: Any) -> Any:
        return self.deep(self.stem(image))


class Deep(paddle.nn.Layer):  # type: ignore[misc]
    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.conv, self.function = conv(8, 8), function

    def forward(self, features: Any) -> Any:
        return self.function(self.conv(features))


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Function to the folder of a frozen network that ends with it."""

    def write(function: Callable[[Any], Any] = paddle.nn.functional.relu) -> Path:
        paddle.seed(0)
        return freeze_network(Staged(function), tmp_path / "traced").save(tmp_path / "program")

    return write
