"""Frozen programs as ONNX files: what ONNX Runtime computes from them, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra ppsplit[onnx] is not installed")
pytest.importorskip("paddle2onnx", reason="the extra ppsplit[onnx] is not installed")

from ppsplit.errors import CertificationError  # noqa: E402
from ppsplit.export import onnx  # noqa: E402
from ppsplit.export.freeze import trace  # noqa: E402
from ppsplit.models import build_model  # noqa: E402
from ppsplit.models.fold import fold_batch_norm  # noqa: E402
from ppsplit.paddle_first import paddle  # noqa: E402
from tests.models.seeded import random_image  # noqa: E402


@pytest.mark.parametrize("name", ["yolo11n", "yolov8n-seg", "mobilenet_v2"])
def test_it_computes_what_the_program_computes(name: str, tmp_path: Path) -> None:
    paddle.seed(2)
    network = build_model(name, num_classes=3, width=0.125)
    program, _ = trace(fold_batch_norm(network), (64, 96), tmp_path)
    image = random_image(0, 64, 96)[None]
    assert onnx.write_onnx(program, tmp_path / "model.onnx", [{"image": image}]) <= 1e-4
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == list(program.graph().outputs)
    pair = session.run(None, {session.get_inputs()[0].name: np.concatenate([image, image])})
    assert all(len(output) == 2 for output in pair)  # the batch is open


def test_what_computes_something_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paddle.seed(2)
    program, _ = trace(fold_batch_norm(build_model("mobilenet_v2", 3, 0.125)), (64, 64), tmp_path)
    plainly = onnx.run_plainly
    monkeypatch.setattr(
        *(onnx, "run_plainly"),
        lambda program, feeds, names: {name: 1.01 * value for name, value in plainly(program, feeds, names).items()},
    )
    with pytest.raises(CertificationError, match="nothing was written"):
        onnx.write_onnx(program, tmp_path / "model.onnx", [{"image": random_image(0, 64, 64)[None]}])
    assert not (tmp_path / "model.onnx").exists()
