"""The simulation rounds as the grids say, and Paddle Inference computes the same from it."""

from __future__ import annotations

from pathlib import Path
from typing import Dict

import numpy as np
import pytest

from ppsplit.errors import QuantizationError
from ppsplit.export.calibration import Observed, observe, quantizable_activations
from ppsplit.export.freeze import FrozenModel
from ppsplit.export.program import static_mode
from ppsplit.export.simulate import ActivationGrid, Simulation, output_error, parameter_values
from ppsplit.paddle_first import paddle
from ppsplit.quant.uniform import one_sided, symmetric
from ppsplit.runtime.paddle import PaddleRuntime

IMAGE = np.random.default_rng(0).random((1, 3, 32, 48), np.float32)


@pytest.fixture(scope="module")
def observed(skip_model: FrozenModel) -> Dict[str, Observed]:
    return observe(skip_model.program, quantizable_activations(skip_model.program.graph()), [IMAGE])


def grids(observed: Dict[str, Observed], bits: int) -> Dict[str, ActivationGrid]:
    return {name: ActivationGrid(0.8 * seen.largest, bits, seen.one_sided) for name, seen in observed.items()}


@pytest.mark.parametrize("bits", [2, 4, 6, 8])
def test_each_tensor_is_rounded_as_its_grid_says(
    skip_model: FrozenModel, observed: Dict[str, Observed], bits: int
) -> None:
    chosen = grids(observed, bits)
    simulation = Simulation(skip_model.program, chosen, {})
    assert {grid.one_sided for grid in chosen.values()} == {True, False}
    with static_mode(), paddle.static.scope_guard(simulation.frozen.scope):
        for name, grid in chosen.items():
            names = [name, f"{name}.quantized.dequantized"]
            exact, rounded = simulation._executor.run(
                simulation.frozen.program, feed={"image": IMAGE}, fetch_list=names
            )
            quantizer = (one_sided if grid.one_sided else symmetric)(grid.clip, bits)
            # where float32 and float64 part at an edge between two steps, one value in ten thousand may differ
            close = np.abs(quantizer.fake(exact) - rounded) <= 1e-4 * quantizer.scale
            assert close.mean() >= 0.9999


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_paddle_inference_computes_the_same(
    skip_model: FrozenModel, observed: Dict[str, Observed], tmp_path: Path, bits: int
) -> None:
    simulation = Simulation(skip_model.program, grids(observed, bits), {})
    frozen = simulation.frozen
    graph = frozen.graph()
    assert graph.outputs == skip_model.program.graph().outputs
    kept = frozen.with_constants([operator.index for operator in graph.operators])
    frozen.save_part(tmp_path / "model", kept, graph.inputs, graph.outputs)
    runtime = PaddleRuntime(tmp_path / "model.pdmodel", tmp_path / "model.pdiparams")
    for simulated, served in zip(simulation.run(IMAGE), runtime.run({"image": IMAGE}).values()):
        np.testing.assert_allclose(served, simulated, atol=1e-5 * np.abs(simulated).max())


def test_more_bits_err_less_and_the_original_stays(skip_model: FrozenModel, observed: Dict[str, Observed]) -> None:
    before = parameter_values(skip_model.program)
    exact = [Simulation(skip_model.program, {}, {}).run(IMAGE)]
    full = [{n: ActivationGrid(s.largest, bits, s.one_sided) for n, s in observed.items()} for bits in (2, 4, 6, 8)]
    errors = [output_error([Simulation(skip_model.program, chosen, {}).run(IMAGE)], exact) for chosen in full]
    assert errors == sorted(errors, reverse=True) and errors[0] > 100 * errors[-1] > 0
    after = parameter_values(skip_model.program)
    assert before.keys() == after.keys() and all((before[name] == after[name]).all() for name in before)


def test_clips_and_weights_can_be_changed_between_runs(skip_model: FrozenModel, observed: Dict[str, Observed]) -> None:
    simulation = Simulation(skip_model.program, grids(observed, 4), {})
    first = simulation.run(IMAGE)
    name, seen = next(iter(observed.items()))
    simulation.set_clip(name, 0.3 * seen.largest)
    assert np.abs(simulation.run(IMAGE)[0] - first[0]).max() > 0
    fresh = Simulation(
        skip_model.program, {**grids(observed, 4), name: ActivationGrid(0.3 * seen.largest, 4, seen.one_sided)}, {}
    )
    for changed, made in zip(simulation.run(IMAGE), fresh.run(IMAGE)):
        np.testing.assert_array_equal(changed, made)
    for parameter, values in parameter_values(skip_model.program).items():
        simulation.set_weight(parameter, np.zeros_like(values))
    assert not np.any(simulation.run(IMAGE)[0])


def test_what_is_not_there_is_refused(skip_model: FrozenModel) -> None:
    with pytest.raises(QuantizationError, match="no operator with weights reads 'nothing'"):
        Simulation(skip_model.program, {"nothing": ActivationGrid(1.0, 8)}, {})
    with pytest.raises(QuantizationError, match="no parameter 'nothing'"):
        Simulation(skip_model.program, {}, {"nothing": np.zeros(1)})
    simulation = Simulation(skip_model.program, {}, {})
    with pytest.raises(QuantizationError, match="no parameter"):
        simulation.set_clip("image", 1.0)
    with pytest.raises(QuantizationError, match="above 0"):
        simulation.set_clip("image", 0.0)


def test_the_error_of_outputs_is_relative_to_each() -> None:
    exact = [[np.float32([100, 0]), np.float32([1])]]
    assert output_error(exact, exact) == 0
    assert output_error([[np.float32([110, 0]), np.float32([1])]], exact) == pytest.approx(0.005)
    assert output_error([[np.float32([100, 0]), np.float32([2])]], exact) == pytest.approx(0.5)
    assert output_error([[np.float32([1])]], [[np.float32([0])]]) == 1
