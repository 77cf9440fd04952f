"""Weight quantization: the integers are there, and the fake model is the true one in fp32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppsplit.errors import ExportError
from ppsplit.export.freeze import FrozenModel
from ppsplit.export.program import FrozenProgram, static_mode
from ppsplit.export.quantize import FAKE_QUANTIZED, QUANTIZED, quantize_weights
from ppsplit.paddle_first import paddle


def weights(prefix: Path) -> dict:
    with static_mode():
        state = paddle.static.load_program_state(str(prefix))
    return {name: values for name, values in state.items() if values.ndim == 4}


@pytest.mark.parametrize(("precision", "bits"), [("int8", 8), ("int16", 16)])
def test_fake_weights_are_the_original_rounded_per_channel(
    skip_model: FrozenModel, tmp_path: Path, precision: str, bits: int
) -> None:
    original = skip_model.save(tmp_path / "original") / "model"
    quantize_weights(original, tmp_path, precision)
    before, after = weights(original), weights(tmp_path / FAKE_QUANTIZED / "model")
    assert set(before) == set(after)
    for name, values in before.items():
        step = np.abs(values).max((1, 2, 3), keepdims=True) / (2 ** (bits - 1) - 1)
        np.testing.assert_allclose(after[name], np.round(values / step) * step, rtol=0, atol=1e-5 * step.max())


def test_true_weights_are_integers_and_smaller(skip_model: FrozenModel, tmp_path: Path) -> None:
    original = skip_model.save(tmp_path / "original") / "model"
    quantize_weights(original, tmp_path, "int8")
    size = {p: (tmp_path / p / "model.pdiparams").stat().st_size for p in (QUANTIZED, FAKE_QUANTIZED)}
    assert size[QUANTIZED] < 0.6 * size[FAKE_QUANTIZED]


def test_tensor_names_stay(skip_model: FrozenModel, tmp_path: Path) -> None:
    original = skip_model.save(tmp_path / "original") / "model"
    quantize_weights(original, tmp_path, "int8")
    program = FrozenProgram.load(tmp_path / FAKE_QUANTIZED / "model")
    assert program.graph().outputs == skip_model.program.graph().outputs


def test_an_unknown_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="int8, int16"):
        quantize_weights(tmp_path / "model", tmp_path, "int4")
