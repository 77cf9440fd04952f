"""Multiply-accumulates against closed forms."""

from __future__ import annotations

from typing import Any

import pytest

from ppsplit.export.macs import operator_macs
from ppsplit.export.program import static_mode
from ppsplit.paddle_first import paddle

F = paddle.nn.functional


def weight(*shape: int) -> Any:
    return paddle.static.create_parameter(list(shape), "float32")


@pytest.mark.parametrize(
    ("apply", "macs"),
    [
        (lambda x: F.conv2d(x, weight(8, 4, 3, 3), padding=1), 8 * 10 * 12 * 4 * 9),
        (lambda x: F.conv2d(x, weight(8, 4, 3, 3), padding=1, stride=2), 8 * 5 * 6 * 4 * 9),
        (lambda x: F.conv2d(x, weight(4, 1, 3, 3), padding=1, groups=4), 4 * 10 * 12 * 9),
        (lambda x: F.conv2d_transpose(x, weight(4, 6, 2, 2), stride=2), 4 * 10 * 12 * 6 * 4),
        (lambda x: F.linear(x, weight(12, 7)), 4 * 10 * 7 * 12),
        (lambda x: paddle.matmul(x, x, transpose_x=True), 4 * 12 * 12 * 10),
        (lambda x: F.conv3d(x.unsqueeze(1), weight(2, 1, 3, 3, 3), padding=1), 2 * 4 * 10 * 12 * 27),
        (lambda x: F.relu(x) + 1.0, 0),
    ],
    ids=["conv", "stride", "depthwise", "transposed", "linear", "transposed matmul", "conv3d", "elementwise"],
)
def test_macs_are_the_closed_form(apply: Any, macs: int) -> None:
    program = paddle.static.Program()
    with static_mode(), paddle.static.program_guard(program, paddle.static.Program()):
        apply(paddle.static.data("x", [-1, 4, 10, 12], "float32"))
        block = program.global_block()
        assert sum(operator_macs(op, block) for op in block.ops) == macs
