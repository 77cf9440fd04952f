"""Tracing, also after a trace that failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppsplit.export.freeze import trace
from ppsplit.paddle_first import paddle

TRANSLATOR = "paddle.jit.dy2static.program_translator"


class Failing(paddle.nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 4, 3)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        self.conv(x)
        raise ValueError("in the middle of a trace")


def test_failed_trace_leaves_no_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{TRANSLATOR}._program_hash", lambda program: 0)  # every id is given again
    with pytest.raises(ValueError, match="in the middle"):
        trace(Failing(), (8, 8), tmp_path)
    program, _ = trace(paddle.nn.Sequential(paddle.nn.Conv2D(3, 2, 1)), (8, 8), tmp_path)
    assert program.graph().operators[0].kind == "conv2d"
