"""Paddle Lite in a process of its own: the same numbers, and a sentence where it ends that process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("paddlelite", reason="Paddle Lite is not installed")

from ppsplit.bundle import HEAD, Bundle
from ppsplit.errors import InferenceRuntimeError
from ppsplit.export.lite import convert_to_nb
from ppsplit.paddle_first import paddle
from ppsplit.runtime.choice import load_part
from ppsplit.runtime.lite_apart import run_apart

BATCH = np.random.default_rng(5).random((1, 3, 32, 48), np.float32)


class FromTheLeft(paddle.nn.Layer):
    """A product that Paddle Lite's optimizer takes, and its kernel does not."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = self.create_parameter([1, 1, 5, 32])

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        return paddle.matmul(self.rows, image)


def test_the_same_numbers(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    program = bundle.program(bundle.cut(), HEAD, "lite", "fp32")
    given = [{"image": BATCH, "nothing reads this": BATCH}, {"image": 1 - BATCH}]
    here = load_part(bundle, bundle.cut(), HEAD, "lite", "fp32")
    for feeds, outputs in zip(given, run_apart(bundle.path(program.files["nb"]), given)):
        assert list(outputs) == here.output_names
        for name, values in here.run({"image": feeds["image"]}).items():
            np.testing.assert_array_equal(outputs[name], values)


def test_the_end_of_a_process_is_a_sentence(tmp_path: Path) -> None:
    network = FromTheLeft()
    network.eval()
    spec = paddle.static.InputSpec([1, 3, 32, 48], "float32", "image")
    paddle.jit.save(network, str(tmp_path / "m"), input_spec=[spec])
    nb = convert_to_nb(tmp_path / "m", tmp_path / "m.nb", "x86")
    with pytest.raises(InferenceRuntimeError, match=r"ended the process over m.nb in its kernel of 'matmul_v2'"):
        run_apart(nb, [{"image": BATCH}])


def test_what_is_refused_is_told_as_ever(tmp_path: Path) -> None:
    (tmp_path / "a.nb").write_bytes(b"no program")
    with pytest.raises(InferenceRuntimeError, match="a.nb"):
        run_apart(tmp_path / "a.nb", [{"image": BATCH}])
