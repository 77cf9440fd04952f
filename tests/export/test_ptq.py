"""Static int8 by every algorithm: Paddle Inference runs it, near the original, and bad images are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

import numpy as np
import pytest

from ppsplit.data.sample_photos import sample_photos
from ppsplit.errors import CalibrationError, QuantizationError
from ppsplit.export.calibration import observe, quantizable_activations
from ppsplit.export.freeze import FrozenModel
from ppsplit.export.program import FrozenProgram
from ppsplit.export.ptq import aciq_clips, lapq_clips, quantize_static, rounded_weights, weight_axes
from ppsplit.export.simulate import ActivationGrid, Simulation, output_error, parameter_values
from ppsplit.image import read_image, to_input
from ppsplit.paddle_first import paddle
from ppsplit.runtime.paddle import PaddleRuntime
from tests.export.conftest import freeze_network


@pytest.fixture(scope="module")
def inputs(skip_model: FrozenModel) -> List[np.ndarray]:
    return [to_input(read_image(path), skip_model.preprocess)[0] for path in sample_photos()[:3]]


def served(prefix: Path, inputs: List[np.ndarray]) -> List[List[np.ndarray]]:
    runtime = PaddleRuntime(Path(f"{prefix}.pdmodel"), Path(f"{prefix}.pdiparams"))
    return [list(runtime.run({"image": image}).values()) for image in inputs]


# Paddle's KL takes seconds a tensor
@pytest.mark.parametrize("algorithm", ["hist", "mse", "aciq", "lapq", pytest.param("kl", marks=pytest.mark.slow)])
def test_the_quantized_program_is_near_the_original(
    skip_model: FrozenModel, inputs: List[np.ndarray], tmp_path: Path, algorithm: str
) -> None:
    original = skip_model.save(tmp_path / "original") / "model"
    prefix = quantize_static(original, tmp_path, inputs, algorithm, lapq_evaluations=40)
    assert prefix == tmp_path / "quantized_model" / "model"
    written = FrozenProgram.load(prefix)
    kinds = [operator.type for operator in written.program.global_block().ops]
    assert kinds.count("quantize_linear") >= 4 and "conv2d" in kinds
    error = output_error(served(prefix, inputs), served(original, inputs))
    assert 0 < error < (2e-2 if algorithm == "kl" else 2e-3)
    weights = parameter_values(written)
    for name in weight_axes(skip_model.program):
        assert weights[name].dtype == np.int8 and np.abs(weights[name].astype(int)).max() == 127


def test_our_scales_are_the_ones_in_the_program(
    skip_model: FrozenModel, inputs: List[np.ndarray], tmp_path: Path
) -> None:
    original = skip_model.save(tmp_path / "original") / "model"
    names = quantizable_activations(skip_model.program.graph())
    clips = aciq_clips(observe(skip_model.program, names, inputs))
    scales = parameter_values(FrozenProgram.load(quantize_static(original, tmp_path, inputs, "aciq")))
    for name in names:
        assert scales[f"{name}@scale"] == pytest.approx(clips[name])


def test_the_simulation_foretells_what_paddle_computes(
    skip_model: FrozenModel, inputs: List[np.ndarray], tmp_path: Path
) -> None:
    original = skip_model.save(tmp_path / "original") / "model"
    names = quantizable_activations(skip_model.program.graph())
    clips = aciq_clips(observe(skip_model.program, names, inputs))
    grids = {name: ActivationGrid(clip, 8) for name, clip in clips.items()}
    simulation = Simulation(skip_model.program, grids, rounded_weights(skip_model.program))
    simulated = [simulation.run(image) for image in inputs]
    prefix = quantize_static(original, tmp_path, inputs, "aciq")
    assert output_error(served(prefix, inputs), simulated) < 1e-5


def test_lapq_is_not_worse_than_aciq_on_its_loss(skip_model: FrozenModel, inputs: List[np.ndarray]) -> None:
    names = quantizable_activations(skip_model.program.graph())
    observed = observe(skip_model.program, names, inputs)
    exact = [Simulation(skip_model.program, {}, {}).run(image) for image in inputs]
    errors = []
    for clips in (lapq_clips(skip_model.program, observed, inputs, 60), aciq_clips(observed)):
        grids = {name: ActivationGrid(clip, 8) for name, clip in clips.items()}
        simulation = Simulation(skip_model.program, grids, rounded_weights(skip_model.program))
        errors.append(output_error([simulation.run(image) for image in inputs], exact))
    assert errors[0] <= errors[1] * 1.02


@pytest.mark.parametrize("algorithm", ["hist", "aciq"])
def test_images_that_say_nothing_write_nothing(skip_model: FrozenModel, tmp_path: Path, algorithm: str) -> None:
    original = skip_model.save(tmp_path / "original") / "model"
    black = np.zeros((1, 3, 32, 48), np.float32)
    for given in ([], [black], [black[:, :, :8]]):
        with pytest.raises(CalibrationError):
            quantize_static(original, tmp_path / "out", given, algorithm)
    assert not (tmp_path / "out").exists()


class Tinted(paddle.nn.Layer):  # type: ignore[misc]
    """A parameter, but no operator that is computed in integers."""

    def __init__(self) -> None:
        super().__init__()
        self.tint = self.create_parameter([1, 3, 1, 1])

    def forward(self, image: Any) -> Any:
        return image * self.tint


def test_unknown_algorithms_and_networks_without_weights_are_refused(inputs: List[np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(QuantizationError, match="kl, hist, mse, aciq, lapq"):
        quantize_static(tmp_path / "model", tmp_path, inputs, "guess")
    model = freeze_network(Tinted(), tmp_path / "traced").save(tmp_path / "original") / "model"
    with pytest.raises(QuantizationError, match="none with weights"):
        quantize_static(model, tmp_path, inputs, "hist")
