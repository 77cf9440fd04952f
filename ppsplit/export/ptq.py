"""Static int8 of weights and activations: scales from calibration images, by Paddle's algorithms or by ours.

Paddle's PostTrainingQuantization does KL, histogram and MSE, and writes every program: int8 weights per output
channel and `quantize_linear`/`dequantize_linear` around what is computed in integers (`onnx_format`; the older form
has an MSE search that takes all activations to be positive). For ACIQ and LAPQ it is handed the clip values.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set

import numpy as np

from ppsplit.bundle.precision import ALGORITHMS
from ppsplit.errors import QuantizationError
from ppsplit.export.calibration import QUANTIZED_KINDS, Observed, check_inputs, observe, quantizable_activations
from ppsplit.export.program import MODEL_SUFFIX, PARAMS_SUFFIX, FrozenProgram, static_mode
from ppsplit.export.quantize import QUANTIZED, quiet
from ppsplit.export.simulate import ActivationGrid, Simulation, output_error, parameter_values
from ppsplit.paddle_first import paddle
from ppsplit.quant.aciq import activation_clip
from ppsplit.quant.lapq import Tensor, lapq
from ppsplit.quant.uniform import for_weights, signed_grid

BITS = 8  # what Paddle's and Paddle Lite's integer kernels have
PADDLE_ALGORITHMS: Dict[str, str] = {"kl": "KL", "hist": "hist", "mse": "mse"}
CHANNELS_LAST = ("mul", "matmul_v2")  # [in, out]; a convolution's weights are [out, in, kh, kw]
LAPQ_SAMPLES = 16_384
LAPQ_IMAGES = 8  # of those given; each step of its search runs the program on all of them
LAPQ_EVALUATIONS = 150


def quantize_static(
    prefix: Path,
    directory: Path,
    inputs: Sequence[np.ndarray],
    algorithm: str,
    lapq_evaluations: int = LAPQ_EVALUATIONS,
) -> Path:
    """Write `<prefix>.pdmodel/.pdiparams`, quantized, to `directory/quantized_model/model`; returns that prefix.

    Args:
        inputs: calibration images as the program takes them, float32 [N, 3, H, W] each.
        algorithm: "kl", "hist", "mse", "aciq" or "lapq".
        lapq_evaluations: how often LAPQ may run its images.

    Raises:
        QuantizationError: unknown algorithm, nothing to quantize, or Paddle could not.
        CalibrationError: the images say nothing, or a tensor is constant on all of them.
    """
    clips = calibrated_clips(prefix, inputs, algorithm, lapq_evaluations)
    return write_static(prefix, directory, inputs, clips)


def calibrated_clips(
    prefix: Path, inputs: Sequence[np.ndarray], algorithm: str, lapq_evaluations: int = LAPQ_EVALUATIONS
) -> Dict[str, float]:
    """The clip value of each activation that operators with weights read, in the order of their first use.

    Arguments and errors as for `quantize_static`.
    """
    if algorithm not in ALGORITHMS:
        raise QuantizationError(f"cannot calibrate by {algorithm!r}; choose from {', '.join(ALGORITHMS)}")
    program = FrozenProgram.load(prefix)
    graph = program.graph()
    names = quantizable_activations(graph)
    if not names:
        raise QuantizationError("no operator of the program can be quantized: there is none with weights")
    check_inputs(inputs, graph.tensors[graph.inputs[0]])
    observed = observe(program, names, inputs)  # for its errors, too: Paddle makes a scale of 1e-8 of a dead tensor
    if algorithm == "aciq":
        return aciq_clips(observed)
    if algorithm == "lapq":
        step = -(-len(inputs) // LAPQ_IMAGES)
        return lapq_clips(program, observed, inputs[::step], lapq_evaluations)
    return paddle_clips(prefix, names, inputs, algorithm)


def write_static(prefix: Path, directory: Path, inputs: Sequence[np.ndarray], clips: Mapping[str, float]) -> Path:
    """Write the static int8 program with these clip values; returns its prefix, `directory/quantized_model/model`.

    Only what `clips` names is rounded: a sum or a bias that is rounded once more, as Paddle does when it chooses the
    scales itself, costs accuracy and keeps oneDNN from fusing it.

    Args:
        inputs: as `quantize_static`; Paddle wants to run one.
        clips: activation to its clip value.

    Raises:
        QuantizationError: Paddle could not.
    """
    program = FrozenProgram.load(prefix)
    scales = {**clips, **_weight_scales(program)}
    with tempfile.TemporaryDirectory() as scratch:
        _run_paddle(prefix, Path(scratch), program.feed_names[0], inputs[:1], None, scales)
        written = FrozenProgram.load(Path(scratch) / "model")
        destination = directory / QUANTIZED / "model"
        written.save_part(destination, _alive(written), written.feed_names, written.fetch_names)
    return destination


def paddle_clips(prefix: Path, names: Sequence[str], inputs: Sequence[np.ndarray], algorithm: str) -> Dict[str, float]:
    """The clip values that Paddle's own algorithm, "kl", "hist" or "mse", chooses for the activations `names`.

    Raises:
        QuantizationError: Paddle could not.
    """
    feed = FrozenProgram.load(prefix).feed_names[0]
    with tempfile.TemporaryDirectory() as scratch:
        _run_paddle(prefix, Path(scratch), feed, inputs, PADDLE_ALGORITHMS[algorithm], None)
        values = parameter_values(FrozenProgram.load(Path(scratch) / "model"))
    return {name: float(values[f"{name}@scale"].item()) for name in names}


def aciq_clips(observed: Mapping[str, Observed]) -> Dict[str, float]:
    """ACIQ's clip value for each activation on the signed int8 grid; what is never negative has its upper half."""
    grid = signed_grid(BITS)
    return {
        name: activation_clip(seen.samples, grid.high if seen.one_sided else grid.intervals, seen.one_sided)
        for name, seen in observed.items()
    }


def lapq_clips(
    program: FrozenProgram, observed: Mapping[str, Observed], inputs: Sequence[np.ndarray], evaluations: int
) -> Dict[str, float]:
    """LAPQ's clip values: jointly, on the error of the network's outputs, with int8 weights.

    The weights' own scales stay those of Paddle's kernels, one a channel by its largest magnitude, so the search is
    over the activations. The loss needs no labels: the unquantized outputs are what is to be kept.

    Raises:
        QuantizationError: the loss is nowhere finite.
    """
    names = list(observed)
    exact = _outputs(Simulation(program, {}, {}), inputs)
    grids = {name: ActivationGrid(seen.largest, BITS) for name, seen in observed.items()}
    simulation = Simulation(program, grids, rounded_weights(program))

    def loss(clips: np.ndarray) -> float:
        for name, clip in zip(names, clips):
            simulation.set_clip(name, float(clip))
        return output_error(_outputs(simulation, inputs), exact)

    tensors = [Tensor(_thinned(seen.samples), BITS) for seen in observed.values()]
    found = lapq(tensors, loss, evaluations=evaluations)
    return {name: float(clip) for name, clip in zip(names, found.clips)}


def rounded_weights(program: FrozenProgram, bits: Optional[Mapping[str, int]] = None) -> Dict[str, np.ndarray]:
    """The weights of what is quantized, rounded per output channel, as float32.

    Args:
        bits: parameter name to bits; 8 for those it does not name.
    """
    values = parameter_values(program)
    return {
        name: for_weights(values[name], (bits or {}).get(name, BITS), axis).fake(values[name])
        for name, axis in weight_axes(program).items()
    }


def weight_axes(program: FrozenProgram) -> Dict[str, int]:
    """Parameter name to the axis of its output channels, for every operator that is quantized."""
    block = program.program.global_block()
    found: Dict[str, int] = {}
    for operator in block.ops:
        if operator.type in QUANTIZED_KINDS:
            for name in operator.input_arg_names:
                variable = block.var(name)
                if variable.persistable and len(variable.shape) > 1:  # a bias may be an input of its convolution
                    found[name] = len(variable.shape) - 1 if operator.type in CHANNELS_LAST else 0
    return found


def _weight_scales(program: FrozenProgram) -> Dict[str, Any]:
    """Largest magnitude of each channel, as Paddle keeps the scales of weights; dead channels as `for_weights`."""
    values = parameter_values(program)
    high = signed_grid(BITS).high
    return {
        name: (for_weights(values[name], BITS, axis).scale * high).tolist()
        for name, axis in weight_axes(program).items()
    }


def _outputs(simulation: Simulation, inputs: Sequence[np.ndarray]) -> List[List[np.ndarray]]:
    return [simulation.run(image) for image in inputs]


def _thinned(samples: np.ndarray) -> np.ndarray:
    """At most about LAPQ_SAMPLES, with the largest magnitude among them: it is where the search begins."""
    kept = samples[:: max(1, samples.size // LAPQ_SAMPLES)]
    return np.append(kept, samples[np.abs(samples).argmax()])


def _alive(program: FrozenProgram) -> Set[int]:
    """Indices of the operators that the outputs depend on, without the `scale` that Paddle put behind each.

    Not by `FrozenProgram.graph`: Paddle quantizes a tensor with two readers twice, under one name.
    """
    wanted, kept = set(program.fetch_names), set()
    operators = program.program.global_block().ops
    for index in reversed(range(len(operators))):
        operator = operators[index]
        if operator.type not in ("feed", "fetch") and wanted.intersection(operator.output_arg_names):
            wanted.update(operator.input_arg_names)
            kept.add(index)
    return kept


class _Images(paddle.io.Dataset):
    """Single images out of inputs; PostTrainingQuantization takes a paddle.io.DataLoader and nothing else."""

    def __init__(self, inputs: Sequence[np.ndarray]) -> None:
        super().__init__()
        self.images = [image for batch in inputs for image in batch]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return (self.images[index],)


def _run_paddle(
    prefix: Path,
    directory: Path,
    feed: str,
    inputs: Sequence[np.ndarray],
    algorithm: Optional[str],
    scales: Optional[Dict[str, Any]],
) -> None:
    """PostTrainingQuantization to `directory/model`; `scales` stand where there is no algorithm of Paddle's."""
    dataset = _Images(inputs)
    scope = paddle.static.Scope()
    with static_mode(), paddle.static.scope_guard(scope), quiet():
        with paddle.static.program_guard(paddle.static.Program()):
            fed = paddle.static.data(feed, [-1, *dataset.images[0].shape], "float32")
            loader = paddle.io.DataLoader(
                dataset, feed_list=[fed], places=[paddle.CPUPlace()], batch_size=1, return_list=False
            )
        try:
            quantizer = paddle.static.quantization.PostTrainingQuantization(
                paddle.static.Executor(paddle.CPUPlace()),
                str(prefix.parent),
                scope=scope,
                model_filename=prefix.name + MODEL_SUFFIX,
                params_filename=prefix.name + PARAMS_SUFFIX,
                data_loader=loader,
                batch_nums=len(dataset),
                algo=algorithm or "abs_max",
                quantizable_op_type=list(QUANTIZED_KINDS),
                weight_quantize_type="channel_wise_abs_max",
                onnx_format=True,
                scale_dict=scales,
            )
            quantizer.quantize()
            quantizer.save_quantized_model(str(directory), "model" + MODEL_SUFFIX, "model" + PARAMS_SUFFIX)
        except Exception as error:  # Paddle documents none of what it raises here
            raise QuantizationError(f"Paddle could not quantize {prefix.name} by {algorithm}: {error}") from error
