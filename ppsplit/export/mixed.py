"""Bits for each layer of a program under a memory limit: measured, planned, written.

Errors are measured on calibration images, one unit at a time with everything else exact (`quant.bits` adds them up,
as Auto-Split does), and once more with all of them together: what a plan promises and what it keeps are two figures.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Sequence, Union

import numpy as np

from ppsplit.export.buffers import Buffer, buffers
from ppsplit.export.calibration import Observed, check_inputs, observe
from ppsplit.export.program import FrozenProgram, static_mode
from ppsplit.export.ptq import weight_axes
from ppsplit.export.simulate import ActivationGrid, Simulation, output_error, parameter_values
from ppsplit.files import sha256_of, write_bytes_atomically
from ppsplit.paddle_first import paddle
from ppsplit.quant.bits import BIT_WIDTHS, BitPlan, Unit, plan_bits, uniform_plans
from ppsplit.quant.bitstream import packed_bytes
from ppsplit.quant.channels import bias_corrected
from ppsplit.quant.lapq import Tensor, layer_clip
from ppsplit.quant.packed import PackedLayer, write_packed
from ppsplit.quant.uniform import for_weights

FLOAT_BYTES = 4
MODEL, PACKED = "model.pdmodel", "weights.ppqw"
ZERO_POINT = "zero_point"
CLIP_SAMPLES = 16_384
CORRECTED_BITS = 4  # up to these, mean and variance of the weights are restored (ACIQ, section 5)
Progress = Callable[[str], None]


@dataclass(frozen=True)
class MixedPlan:
    """A plan for a program.

    Attributes:
        bits: the plan; weights by parameter name, activations by tensor name.
        grids: of the activations.
        layers: every parameter, as the packed file holds it.
        error: of the outputs (`simulate.output_error`) with all of it together, on the calibration images.
    """

    bits: BitPlan
    grids: Mapping[str, ActivationGrid]
    layers: Mapping[str, Union[PackedLayer, np.ndarray]]
    error: float


def plan_mixed(
    program: FrozenProgram,
    inputs: Sequence[np.ndarray],
    limit_bytes: int,
    widths: Sequence[int] = BIT_WIDTHS,
    progress: Progress = print,
) -> MixedPlan:
    """Choose bits for the weights and the activations of a program, the edge half of a network.

    Args:
        inputs: calibration images, float32 [N, 3, H, W] each.
        limit_bytes: for the weights' packed codes and scales, the other parameters as float32, and the largest
            working set for one image together.

    Raises:
        CalibrationError: the images say nothing.
        QuantizationError: nothing fits into the limit; the message says what would.
    """
    graph = program.graph()
    kept = buffers(graph)
    inner = [buffer for buffer in kept if not buffer.is_output and graph.tensors[buffer.name].dtype == "float32"]
    observed = observe(program, [buffer.name for buffer in inner], inputs)
    exact = _outputs(Simulation(program, {}, {}), inputs)
    units = _weight_units(program, inputs, exact, widths, progress)
    grids = {name: {bits: grid_for(seen, bits) for bits in widths} for name, seen in observed.items()}
    for buffer in inner:
        progress(f"measuring {buffer.name}")
        errors = {
            bits: output_error(_outputs(Simulation(program, {buffer.name: grid}, {}), inputs), exact)
            for bits, grid in grids[buffer.name].items()
        }
        units.append(Unit(buffer.name, buffer.elements, errors, buffer.steps))
    units += _fixed_units(program, [buffer for buffer in kept if buffer not in inner], widths)
    plan = plan_bits(units, limit_bytes, widths)
    # Errors of few bits do not add up: a plan that looks best may lose to one width for all, so all are measured.
    even = [replace(p, bound=plan.bound) for p in uniform_plans(units, widths) if p.memory_bytes <= limit_bytes]
    measured = [_together(program, candidate, grids, inputs, exact) for candidate in (plan, *even)]
    return min(measured, key=lambda candidate: candidate.error)


def _together(
    program: FrozenProgram,
    plan: BitPlan,
    grids: Mapping[str, Mapping[int, ActivationGrid]],
    inputs: Sequence[np.ndarray],
    exact: Sequence[Sequence[np.ndarray]],
) -> MixedPlan:
    """A plan with its error measured, everything quantized at once."""
    chosen = {name: by_bits[plan.bits[name]] for name, by_bits in grids.items()}
    layers = packed_layers(program, plan.bits)
    simulation = Simulation(program, chosen, _floats(layers))
    return MixedPlan(plan, chosen, layers, output_error(_outputs(simulation, inputs), exact))


def given_mixed(program: FrozenProgram, bits: Mapping[str, int], inputs: Sequence[np.ndarray]) -> MixedPlan:
    """A plan that somebody gives: the weights in these bits, activations in float32.

    Args:
        bits: parameter name to 2..8, for each of `weight_axes`.

    Raises:
        CalibrationError: the images on which the error is to be measured say nothing.
    """
    graph = program.graph()
    check_inputs(inputs, graph.tensors[graph.inputs[0]])
    exact = _outputs(Simulation(program, {}, {}), inputs)
    layers = packed_layers(program, bits)
    error = output_error(_outputs(Simulation(program, {}, _floats(layers)), inputs), exact)
    working: Dict[int, int] = {}
    for buffer in buffers(graph):
        for step in buffer.steps:
            working[step] = working.get(step, 0) + graph.tensors[buffer.name].bytes_per_image()
    weights = sum(layer_bytes(layer) for layer in layers.values())
    return MixedPlan(BitPlan(dict(bits), error, weights + max(working.values()), 0.0), {}, layers, error)


def layer_bytes(layer: Union[PackedLayer, np.ndarray]) -> int:
    """Bytes of a parameter in the packed file, without its place in the header."""
    if isinstance(layer, np.ndarray):
        return layer.nbytes
    floats = layer.scale.size * (1 if layer.offset is None else 2)
    return packed_bytes(layer.codes.size, layer.bits) + FLOAT_BYTES * floats


def write_mixed(program: FrozenProgram, plan: MixedPlan, directory: Path) -> None:
    """Write `model.pdmodel`, and its parameters packed, `weights.ppqw`, with the program's sha256 for fingerprint.

    The program rounds activations to the plan's grids by `quantize_linear` and `dequantize_linear`, so it computes
    what a runtime with such activations would; Paddle keeps them in float32 all the same. The plan's bytes are those
    of the packed weights and, for activations, of a runtime that packs them.

    Raises:
        OSError: as for any write.
    """
    frozen = Simulation(program, plan.grids, {}).frozen
    _zero_points_in_the_program(frozen)
    graph = frozen.graph()
    kept = frozen.with_constants([operator.index for operator in graph.operators])
    with tempfile.TemporaryDirectory() as scratch:
        frozen.save_part(Path(scratch) / "model", kept, graph.inputs, graph.outputs)
        model = write_bytes_atomically(directory / MODEL, (Path(scratch) / MODEL).read_bytes())
    scales = {f"{name}@scale": np.array([grid.clip], np.float32) for name, grid in plan.grids.items()}
    write_packed(directory / PACKED, {**plan.layers, **scales}, sha256_of(model))


def rounded_program(program: FrozenProgram, plan: MixedPlan) -> FrozenProgram:
    """The program with the plan's weights, rounded, as float32, and nothing done to its activations."""
    return Simulation(program, {}, _floats(plan.layers)).frozen


def _zero_points_in_the_program(frozen: FrozenProgram) -> None:
    """One constant for all zero points: they are integers, and the packed file holds floats alone."""
    with static_mode():
        block = frozen.program.global_block()
        rounding = [op for op in block.ops if op.type in ("quantize_linear", "dequantize_linear")]
        if not rounding:
            return
        block.create_var(name=ZERO_POINT, shape=[1], dtype="int32")
        for op in rounding:
            op.desc.set_input("ZeroPoint", [ZERO_POINT])
        first = next(index for index, op in enumerate(block.ops) if op.type != "feed")
        attributes = {"shape": [1], "dtype": paddle.base.core.VarDesc.VarType.INT32, "value": 0.0, "str_value": "0"}
        block._insert_op(first, type="fill_constant", inputs={}, outputs={"Out": [ZERO_POINT]}, attrs=attributes)
        frozen.program.desc.flush()


def grid_for(seen: Observed, bits: int) -> ActivationGrid:
    """The grid of that many bits with the least mean squared error on a tensor's samples."""
    kept = seen.samples[:: max(1, seen.samples.size // CLIP_SAMPLES)]
    samples = np.append(kept, np.array(seen.largest, np.float32))
    return ActivationGrid(layer_clip(Tensor(samples, bits, seen.one_sided), 2.0), bits, seen.one_sided, stored=True)


def packed_layers(program: FrozenProgram, bits: Mapping[str, int]) -> Dict[str, Union[PackedLayer, np.ndarray]]:
    """Every float parameter: the weights of what is quantized in `bits[name]` bits, the others as they are."""
    axes = weight_axes(program)
    values = {name: array for name, array in parameter_values(program).items() if array.dtype == np.float32}
    return {n: pack_weights(v, bits[n], axes[n]) if n in axes else v for n, v in values.items()}


def pack_weights(weights: np.ndarray, bits: int, axis: int) -> PackedLayer:
    """Weights as integers, per output channel; of a convolution and few bits with its moments restored."""
    if bits <= CORRECTED_BITS and axis == 0:
        codes, scale, offset = bias_corrected(weights, bits)
        if (scale > 0).all():  # a constant channel comes out with none
            return PackedLayer(codes, bits, scale, 0, offset)
    quantizer = for_weights(weights, bits, axis)
    return PackedLayer(quantizer.encode(weights), bits, quantizer.scale, axis)


def _weight_units(
    program: FrozenProgram,
    inputs: Sequence[np.ndarray],
    exact: Sequence[Sequence[np.ndarray]],
    widths: Sequence[int],
    progress: Progress,
) -> List[Unit]:
    values = parameter_values(program)
    simulation = Simulation(program, {}, {})
    units = []
    for name, axis in weight_axes(program).items():
        progress(f"measuring {name}")
        layers = {bits: pack_weights(values[name], bits, axis) for bits in widths}
        errors = {}
        for bits, layer in layers.items():
            simulation.set_weight(name, layer.weights())
            errors[bits] = output_error(_outputs(simulation, inputs), exact)
        simulation.set_weight(name, values[name])
        # the same for all widths, so that the limit holds for those that carry an offset, too
        floats = max(layer.scale.size * (1 if layer.offset is None else 2) for layer in layers.values())
        units.append(Unit(name, values[name].size, errors, overhead_bytes=FLOAT_BYTES * floats))
    return units


def _fixed_units(program: FrozenProgram, kept: Sequence[Buffer], widths: Sequence[int]) -> List[Unit]:
    """What is not quantized and takes memory all the same: biases, and tensors that are handed over or hold sizes."""
    nothing = dict.fromkeys(widths, 0.0)
    axes, tensors = weight_axes(program), program.graph().tensors
    found = [
        Unit(name, 0, nothing, overhead_bytes=values.nbytes)
        for name, values in parameter_values(program).items()
        if name not in axes
    ]
    return found + [Unit(b.name, 0, nothing, b.steps, tensors[b.name].bytes_per_image()) for b in kept]


def _floats(layers: Mapping[str, Union[PackedLayer, np.ndarray]]) -> Dict[str, np.ndarray]:
    return {n: layer.weights() if isinstance(layer, PackedLayer) else layer for n, layer in layers.items()}


def _outputs(simulation: Simulation, inputs: Sequence[np.ndarray]) -> List[List[np.ndarray]]:
    return [simulation.run(image) for image in inputs]
