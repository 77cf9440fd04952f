"""Conversion to Paddle Lite: what runs, and what is said when it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest

from ppsplit.errors import ConversionError, ProgramError
from ppsplit.export.freeze import FrozenModel
from ppsplit.export.lite import convert_to_nb, unsupported_operator
from ppsplit.paddle_first import paddle
from ppsplit.runtime.lite import LiteRuntime
from ppsplit.runtime.paddle import PaddleRuntime
from tests.export.conftest import conv, freeze_network


class Applied(paddle.nn.Layer):  # type: ignore[misc]
    """One function after one convolution."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.conv, self.function = conv(3, 4), function

    def forward(self, image: Any) -> Any:
        return self.function(self.conv(image))


def saved(model: FrozenModel, prefix: Path) -> Path:
    return model.save(prefix.parent) / "model"


def test_nb_computes_what_the_program_computes(skip_model: FrozenModel, tmp_path: Path) -> None:
    prefix = saved(skip_model, tmp_path / "model")
    lite = LiteRuntime(convert_to_nb(prefix, tmp_path / "model.nb", "x86"))
    whole = PaddleRuntime(Path(f"{prefix}.pdmodel"), Path(f"{prefix}.pdiparams"))
    image = {"image": np.random.default_rng(0).random((1, 3, 32, 48), np.float32)}
    expected, actual = whole.run(image), lite.run(image)
    assert list(actual) == list(expected)
    for name in expected:
        np.testing.assert_allclose(actual[name], expected[name], rtol=0, atol=1e-4 * np.abs(expected[name]).max())


def test_outputs_outlive_the_next_run(skip_model: FrozenModel, tmp_path: Path) -> None:
    prefix = saved(skip_model, tmp_path / "model")
    lite = LiteRuntime(convert_to_nb(prefix, tmp_path / "model.nb", "x86"))
    first = lite.run({"image": np.ones((1, 3, 32, 48), np.float32)})
    kept = {name: values.copy() for name, values in first.items()}
    lite.run({"image": np.zeros((1, 3, 32, 48), np.float32)})
    for name, values in first.items():
        np.testing.assert_array_equal(values, kept[name])


@pytest.mark.parametrize("target", ["x86", "arm"])
def test_an_abort_names_operator_and_target(target: str, tmp_path: Path) -> None:
    prefix = saved(freeze_network(Applied(paddle.erfinv), tmp_path / "traced"), tmp_path / "model")
    with pytest.raises(ConversionError, match=f"'erfinv'.*{target}"):
        convert_to_nb(prefix, tmp_path / "model.nb", target)
    assert not list(tmp_path.glob("*.nb"))


def test_a_crash_points_to_the_doctor(tmp_path: Path) -> None:
    def without_weights(x: Any) -> Any:
        return paddle.nn.functional.layer_norm(x, 48)

    prefix = saved(freeze_network(Applied(without_weights), tmp_path / "traced"), tmp_path / "model")
    with pytest.raises(ConversionError, match="crashed .signal 11. for target x86.*ppsplit doctor"):
        convert_to_nb(prefix, tmp_path / "model.nb", "x86")


def test_an_unknown_target_and_a_missing_program_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="known: x86, arm"):
        convert_to_nb(tmp_path / "model", tmp_path / "model.nb", "riscv")
    with pytest.raises(ProgramError, match="model.pdmodel cannot be read"):
        convert_to_nb(tmp_path / "model", tmp_path / "model.nb", "x86")


def test_parameters_that_are_not_there_are_an_error(skip_model: FrozenModel, tmp_path: Path) -> None:
    prefix = saved(skip_model, tmp_path / "model")
    Path(f"{prefix}.pdiparams").unlink()
    with pytest.raises(ConversionError, match="for target x86"):
        convert_to_nb(prefix, tmp_path / "model.nb", "x86")


@pytest.mark.parametrize(
    ("output", "operator"),
    [
        ("", None),
        ("Segmentation fault", None),
        ("there are unsupported ops are: 'erfinv'", "erfinv"),
        ("No attributes called threshold found for relu6", "relu6"),
        ("Check failed: !instruct.kernels().empty(): No kernels found for bmm", "bmm"),
    ],
)
def test_the_operator_that_is_complained_about(output: str, operator: Optional[str]) -> None:
    assert unsupported_operator(output) == operator
