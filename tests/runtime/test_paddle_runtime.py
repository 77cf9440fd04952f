"""Paddle Inference, where its optimisation has been seen to compute something else than the program says."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from ppsplit.paddle_first import paddle
from ppsplit.runtime.onednn import ONEDNN_OPERATORS
from ppsplit.runtime.paddle import PaddleRuntime, _silent_stderr

functional = paddle.nn.functional


class Products(paddle.nn.Layer):
    """A convolution, and right behind it a product of matrices of rank 4."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.conv, self.kind = paddle.nn.Conv2D(3, 16, 1), kind

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        y = self.conv(image)
        if self.kind == "plain":
            return paddle.matmul(y, y)
        if self.kind == "split":
            left, right = paddle.split(y, 2, axis=1)
            return paddle.matmul(left, right, transpose_y=True)
        weights = functional.softmax(paddle.matmul(y, y, transpose_y=True))
        return paddle.matmul(y, weights, transpose_x=True)


@pytest.mark.parametrize("kind", ["plain", "split", "attention"])
def test_products_behind_a_convolution(kind: str, tmp_path: Path) -> None:
    paddle.seed(1)
    network = Products(kind)
    network.eval()
    spec = paddle.static.InputSpec([None, 3, 16, 16], "float32", "image")
    paddle.jit.save(network, str(tmp_path / "m"), input_spec=[spec])
    runtime = PaddleRuntime(tmp_path / "m.pdmodel", tmp_path / "m.pdiparams")
    images = np.random.RandomState(0).randn(2, 3, 16, 16).astype(np.float32)
    for batch in (images[:1], images):
        expected = network(paddle.to_tensor(batch)).numpy()
        (found,) = runtime.run({"image": batch}).values()
        assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


class Padded(paddle.nn.Layer):
    """A convolution, and right behind it constants around its result, by the operator of any rank."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 8, 3)

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        return functional.pad(self.conv(image), [0, 0, 0, 0, 1, 2, 3, 4], value=0.5)


def test_constants_around_a_convolution(tmp_path: Path) -> None:
    assert "pad" not in ONEDNN_OPERATORS  # its kernel overwrites the heap, which ends this process
    network = Padded()
    network.eval()
    spec = paddle.static.InputSpec([None, 3, 16, 16], "float32", "image")
    paddle.jit.save(network, str(tmp_path / "m"), input_spec=[spec])
    runtime = PaddleRuntime(tmp_path / "m.pdmodel", tmp_path / "m.pdiparams")
    for batch in (1, 2):
        images = np.random.RandomState(batch).randn(batch, 3, 16, 16).astype(np.float32)
        (found,) = runtime.run({"image": images}).values()
        np.testing.assert_allclose(found, network(paddle.to_tensor(images)).numpy(), atol=1e-5)


def test_only_what_onednn_knows_is_handed_to_it() -> None:
    kernels = paddle.base.core._get_all_register_op_kernels("all")
    known = {name for name, kinds in kernels.items() if any("MKLDNN" in kind or "ONEDNN" in kind for kind in kinds)}
    assert known >= ONEDNN_OPERATORS
    assert not any("matmul" in name or name in ("mul", "bmm") for name in ONEDNN_OPERATORS)


def test_two_threads_that_load_at_once_leave_the_error_stream_as_it_was() -> None:
    def second() -> None:
        with _silent_stderr():
            entered.set()
            left.wait()

    before = os.fstat(2)
    entered, left, thread = threading.Event(), threading.Event(), threading.Thread(target=second)
    with _silent_stderr():
        thread.start()
        entered.wait(0.2)  # long enough for what must not happen
    left.set()
    thread.join()
    after = os.fstat(2)
    assert (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino)
