"""A small network with a skip connection, an upsample and two outputs, traced once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ppsplit.bundle import DecodeSpec
from ppsplit.export.freeze import FrozenModel, trace
from ppsplit.image import Preprocess
from ppsplit.paddle_first import paddle

INPUT_HW = (32, 48)


def conv(inputs: int, outputs: int, kernel: int = 3) -> Any:
    return paddle.nn.Conv2D(inputs, outputs, kernel, padding=kernel // 2)


class SkipNet(paddle.nn.Layer):  # type: ignore[misc]
    """stem -> pool -> deep -> upsample, joined with stem; a coarse and a fine output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pool, self.deep = conv(3, 8), paddle.nn.MaxPool2D(2, 2), conv(8, 8)
        self.fine, self.coarse = conv(16, 6, 1), conv(8, 4, 1)

    def forward(self, image: Any) -> Any:
        functional = paddle.nn.functional
        fine = functional.leaky_relu(self.stem(image), 0.1)
        deep = functional.leaky_relu(self.deep(self.pool(fine)), 0.1)
        joined = paddle.concat([functional.interpolate(deep, scale_factor=2, mode="nearest"), fine], axis=1)
        return [self.coarse(deep), self.fine(joined)]


def freeze_network(network: Any, directory: Path, name: str = "skip_net") -> FrozenModel:
    program, stages = trace(network, INPUT_HW, directory)
    preprocess = Preprocess(INPUT_HW, resize="stretch")
    return FrozenModel(name, program, preprocess, DecodeSpec("raw"), (), stages, "")


@pytest.fixture(scope="session")
def skip_model(tmp_path_factory: pytest.TempPathFactory) -> FrozenModel:
    paddle.seed(0)
    return freeze_network(SkipNet(), tmp_path_factory.mktemp("skip_net"))
