"""Bits per layer under a limit: what is counted, what is written, and that the error is the one measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

import numpy as np
import pytest

from ppsplit.data.sample_photos import sample_photos
from ppsplit.errors import CalibrationError, QuantizationError
from ppsplit.export.buffers import buffers
from ppsplit.export.calibration import observe
from ppsplit.export.freeze import FrozenModel
from ppsplit.export.mixed import MixedPlan, grid_for, pack_weights, packed_layers, plan_mixed, write_mixed
from ppsplit.export.program import FrozenProgram
from ppsplit.export.ptq import weight_axes
from ppsplit.export.simulate import Simulation, output_error, parameter_values
from ppsplit.image import read_image, to_input
from ppsplit.paddle_first import paddle
from ppsplit.quant.bits import BIT_WIDTHS
from ppsplit.quant.packed import PackedLayer, unpack_weights
from ppsplit.quant.uniform import sqnr_db
from ppsplit.runtime.paddle import PaddleRuntime
from tests.export.conftest import conv, freeze_network

LIMIT = 52_000


@pytest.fixture(scope="module")
def inputs(skip_model: FrozenModel) -> List[np.ndarray]:
    return [to_input(read_image(path), skip_model.preprocess)[0] for path in sample_photos()[:2]]


@pytest.fixture(scope="module")
def planned(skip_model: FrozenModel, inputs: List[np.ndarray]) -> MixedPlan:
    return plan_mixed(skip_model.program, inputs, LIMIT, progress=lambda step: None)


def test_buffers_live_from_their_writer_to_their_last_reader(skip_model: FrozenModel) -> None:
    """stem, bias and leaky ReLU are one buffer, kept for the concat; the deep branch's likewise."""
    graph = skip_model.program.graph()
    kinds = [operator.kind for operator in graph.operators]
    found = {buffer.name: buffer for buffer in buffers(graph)}
    first, second = (op.outputs[0] for op in graph.operators if op.kind == "leaky_relu")
    concat = kinds.index("concat")
    assert found["image"].steps == (0,)
    assert found[first].steps == tuple(range(concat + 1))
    assert found[first].elements == 8 * 32 * 48
    deep = kinds.index("conv2d", 1)
    last_reader = max(i for i, op in enumerate(graph.operators) if second in op.inputs)
    assert found[second].steps == tuple(range(deep, last_reader + 1))
    outputs = [buffer for buffer in found.values() if buffer.is_output]
    assert [buffer.name for buffer in outputs] == list(graph.outputs)
    assert all(buffer.steps[-1] == len(kinds) - 1 for buffer in outputs)
    assert len(found) == 8  # image, stem, pool, deep, upsampled, joined, two outputs


def test_the_plan_fits_and_is_counted_whole(skip_model: FrozenModel, planned: MixedPlan) -> None:
    assert planned.bits.memory_bytes <= LIMIT
    chosen = planned.bits.bits
    parameters = sum(
        (layer.codes.size * layer.bits + 7) // 8 + 4 * layer.scale.size
        if isinstance(layer, PackedLayer)
        else layer.nbytes
        for layer in planned.layers.values()
    )
    kept = buffers(skip_model.program.graph())
    steps = range(len(skip_model.program.graph().operators))
    working = max(
        sum(4 * b.elements if b.is_output else (b.elements * chosen[b.name] + 7) // 8 for b in kept if step in b.steps)
        for step in steps
    )
    assert parameters + working <= planned.bits.memory_bytes  # which also counts offsets where there may be none
    assert planned.bits.memory_bytes - parameters - working < 400
    assert len({chosen[name] for name in [*planned.grids, *weight_axes(skip_model.program)]}) > 1


def test_more_memory_never_errs_more(skip_model: FrozenModel, inputs: List[np.ndarray], planned: MixedPlan) -> None:
    loose = plan_mixed(skip_model.program, inputs, 10**7, progress=lambda step: None)
    assert loose.bits.error <= planned.bits.error and loose.error < planned.error < 0.5
    assert {loose.bits.bits[name] for name in loose.grids} <= {6, 8}


@pytest.mark.parametrize("limit", [50_500, LIMIT, 54_000, 70_000])
def test_one_width_for_all_that_fits_is_never_better(
    skip_model: FrozenModel, inputs: List[np.ndarray], limit: int
) -> None:
    """Measured together, which is what counts, and not as a sum."""
    plan = plan_mixed(skip_model.program, inputs, limit, progress=lambda step: None)
    program = skip_model.program
    exact = [Simulation(program, {}, {}).run(image) for image in inputs]
    observed = observe(program, list(plan.grids), inputs)
    assert plan.bits.memory_bytes <= limit
    for bits in BIT_WIDTHS:
        if plan_of_one_width(program, bits) > limit:
            continue
        layers = packed_layers(program, dict.fromkeys(weight_axes(program), bits))
        weights = {n: v.weights() if isinstance(v, PackedLayer) else v for n, v in layers.items()}
        simulation = Simulation(program, {name: grid_for(seen, bits) for name, seen in observed.items()}, weights)
        assert plan.error <= output_error([simulation.run(image) for image in inputs], exact) * (1 + 1e-6)


def plan_of_one_width(program: FrozenProgram, bits: int) -> int:
    """Its bytes, counted anew, with room for scales and offsets."""
    kept = buffers(program.graph())
    working = max(
        sum(b.elements * (32 if b.is_output else bits) / 8 for b in kept if step in b.steps) for step in range(99)
    )
    return int(working + sum(v.size * bits / 8 for v in parameter_values(program).values() if v.ndim > 1) + 500)


def test_what_is_written_is_small_and_computes_the_plan(
    skip_model: FrozenModel, inputs: List[np.ndarray], planned: MixedPlan, tmp_path: Path
) -> None:
    write_mixed(skip_model.program, planned, tmp_path)
    original = parameter_values(skip_model.program)
    unpacked = unpack_weights(tmp_path / "weights.ppqw")
    assert {n: v.shape for n, v in unpacked.items() if not n.endswith("@scale")} == {
        n: v.shape for n, v in original.items()
    }
    codes = sum(original[n].size * planned.bits.bits[n] / 8 for n in weight_axes(skip_model.program))
    assert (tmp_path / "weights.ppqw").stat().st_size < codes + 1500 < sum(v.nbytes for v in original.values()) + 1500
    runtime = PaddleRuntime(tmp_path / "model.pdmodel", tmp_path / "weights.ppqw", packed=True)
    served = [list(runtime.run({"image": image}).values()) for image in inputs]
    simulation = Simulation(
        skip_model.program, planned.grids, {n: unpacked[n] for n in original}
    )  # from the file, not from memory
    simulated = [simulation.run(image) for image in inputs]
    assert output_error(served, simulated) < 1e-6
    exact = [Simulation(skip_model.program, {}, {}).run(image) for image in inputs]
    assert output_error(simulated, exact) == pytest.approx(planned.error)


def test_what_cannot_be_is_refused(skip_model: FrozenModel, inputs: List[np.ndarray]) -> None:
    with pytest.raises(QuantizationError, match="raise --edge-memory"):
        plan_mixed(skip_model.program, inputs, 1000, progress=lambda step: None)
    with pytest.raises(CalibrationError, match="nothing to calibrate"):
        plan_mixed(skip_model.program, [], LIMIT)


@pytest.mark.parametrize("axis", [0, 1])
def test_weights_pack_at_every_width(axis: int) -> None:
    weights = np.random.default_rng(0).laplace(size=(8, 12)).astype(np.float32)
    weights[:, 3] = weights[3] = 0.5
    qualities = [sqnr_db(weights, pack_weights(weights, bits, axis).weights()) for bits in BIT_WIDTHS]
    assert qualities == sorted(qualities) and qualities[-1] > 35


class Reshaping(paddle.nn.Layer):  # type: ignore[misc]
    """Sizes and reshapes, which Paddle gives outputs that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = conv(3, 4), conv(4, 4)

    def forward(self, image: Any) -> Any:
        half = paddle.shape(image)[2:] // 2
        small = paddle.nn.functional.interpolate(self.stem(image), size=half, mode="nearest")
        return self.last(paddle.reshape(small, [-1, 4, 16, 24]))


def test_sizes_and_unread_outputs_are_no_activations(inputs: List[np.ndarray], tmp_path: Path) -> None:
    program = freeze_network(Reshaping(), tmp_path).program
    specs = program.graph().tensors
    plan = plan_mixed(program, inputs, 10**7, progress=lambda step: None)
    assert {specs[name].dtype for name in plan.grids} == {"float32"}
    assert plan.error < 1e-3
