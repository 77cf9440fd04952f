"""Biases as vectors: the same values, fewer operators, and nothing else touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ppsplit.export.biases import with_vector_biases
from ppsplit.export.freeze import FrozenModel
from ppsplit.export.program import FrozenProgram
from ppsplit.export.simulate import Simulation
from ppsplit.paddle_first import paddle
from tests.export.conftest import conv, freeze_network


def kinds(program: FrozenProgram) -> list:
    return [op.type for op in program.program.global_block().ops]


def test_the_same_values_come_out_without_the_reshapes(skip_model: FrozenModel) -> None:
    plain = with_vector_biases(skip_model.program)
    image = np.random.default_rng(0).random((2, 3, 32, 48), np.float32)
    for found, exact in zip(Simulation(plain, {}, {}).run(image), Simulation(skip_model.program, {}, {}).run(image)):
        assert np.array_equal(found, exact)
    assert kinds(skip_model.program).count("reshape2") == 4 and "reshape2" not in kinds(plain)
    assert plain.graph().outputs == skip_model.program.graph().outputs
    assert kinds(with_vector_biases(plain)) == kinds(plain)


class Shared(paddle.nn.Layer):  # type: ignore[misc]
    """A reshaped vector that a product reads, too, and one that is added to three axes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 4)
        self.tint = self.create_parameter([4], default_initializer=paddle.nn.initializer.Uniform(1, 2))

    def forward(self, image: Any) -> Any:
        tint = paddle.reshape(self.tint, [1, 4, 1, 1])
        return (self.stem(image) + tint) * tint


def test_a_vector_that_something_else_reads_stays(tmp_path: Path) -> None:
    paddle.seed(1)
    program = freeze_network(Shared(), tmp_path).program
    plain = with_vector_biases(program)
    image = np.random.default_rng(0).random((1, 3, 32, 48), np.float32)
    assert np.array_equal(Simulation(plain, {}, {}).run(image)[0], Simulation(program, {}, {}).run(image)[0])
    assert kinds(plain).count("reshape2") == 1
