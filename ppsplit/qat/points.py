"""Which tensors of a network get quantizers, what they clip at to begin with, and the error that is left."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ppsplit.errors import QuantizationError
from ppsplit.export.biases import with_vector_biases
from ppsplit.export.calibration import quantizable_activations
from ppsplit.export.freeze import trace
from ppsplit.export.graph import Operator, resolve_cut
from ppsplit.export.program import FrozenProgram
from ppsplit.export.ptq import calibrated_clips, rounded_weights
from ppsplit.export.simulate import ActivationGrid, Simulation, output_error
from ppsplit.models.fold import fold_batch_norm
from ppsplit.paddle_first import paddle

Outputs = List[List[np.ndarray]]


@dataclass(frozen=True)
class Points:
    """Where the quantizers of a network are.

    Attributes:
        names: of what they round, in the order of its first use: a stage's structural name, or the input's.
        readers: structural path of each convolution that is quantized to the index of what it reads.
    """

    names: Tuple[str, ...]
    readers: Dict[str, int]


class Frozen:
    """A network as it will be exported, in front of one cut.

    Args:
        network: is left as it is.
        input_hw: input height and width in pixels.
        cut: where the quantized part ends, as `resolve_cut` takes it; None for the whole network.

    Raises:
        CutError: there is no such cut.
        QuantizationError: nothing in front of it can be quantized, or what is rounded has no structural name.
    """

    def __init__(self, network: paddle.nn.Layer, input_hw: Tuple[int, int], cut: Optional[str]) -> None:
        folded = fold_batch_norm(network)
        with tempfile.TemporaryDirectory() as scratch:
            program, stages = trace(folded, input_hw, Path(scratch))
        self.program = with_vector_biases(program)
        self._graph = self.program.graph()
        found = resolve_cut(self._graph, cut, stages) if cut else None
        self._edge: Sequence[Operator] = found.edge if found else self._graph.operators
        self._sent = tuple(spec.name for spec in found.tensors) if found else self._graph.outputs
        with tempfile.TemporaryDirectory() as scratch:
            self._write_edge(Path(scratch) / "edge")
            self.tensors = tuple(quantizable_activations(FrozenProgram.load(Path(scratch) / "edge").graph()))
        self.points = self._points(_paths(folded), stages)

    def _write_edge(self, prefix: Path) -> None:
        if not any(name in self._graph.inputs for operator in self._edge for name in operator.inputs):
            raise QuantizationError("there is no layer with weights in front of the cut; choose a later --cut")
        kept = self.program.with_constants([operator.index for operator in self._edge])
        computed = [name for name in self._sent if name not in self._graph.inputs]
        self.program.save_part(prefix, kept, self._graph.inputs, computed)

    def _points(self, paths: Mapping[str, str], stages: Mapping[str, str]) -> Points:
        stage_of = {tensor: stage for stage, tensor in reversed(list(stages.items()))}  # the outermost
        names = tuple(tensor if tensor in self._graph.inputs else stage_of.get(tensor, "") for tensor in self.tensors)
        readers = {}
        for operator in self._edge:
            for parameter in operator.parameters & paths.keys():
                readers[paths[parameter]] = self.tensors.index(operator.inputs[0])
        unread = set(range(len(names))) - set(readers.values())
        for index, name in enumerate(names):
            if not name or index in unread:
                raise QuantizationError(
                    f"tensor {self.tensors[index]!r} is rounded in front of a layer, but is no stage's output or is "
                    "read by no convolution, so nothing can be learnt for it; calibrate instead with --quant ptq"
                )
        if not names:
            raise QuantizationError("there is no layer with weights in front of the cut; choose a later --cut")
        return Points(names, readers)

    def calibrated(self, inputs: Sequence[np.ndarray], algorithm: str) -> np.ndarray:
        """Clip values as `--quant ptq-ALGORITHM` has them, float64 [A]. Raises CalibrationError, QuantizationError."""
        with tempfile.TemporaryDirectory() as scratch:
            self._write_edge(Path(scratch) / "edge")
            found = calibrated_clips(Path(scratch) / "edge", inputs, algorithm)
        return np.array([found[name] for name in self.tensors])

    def outputs(self, inputs: Sequence[np.ndarray], clips: Optional[np.ndarray] = None, bits: int = 8) -> Outputs:
        """The whole network's outputs for each input: in fp32, or with clip values [A] as it is quantized."""
        if clips is None:
            simulation = Simulation(self.program, {}, {})
        else:
            grids = {name: ActivationGrid(float(clip), bits) for name, clip in zip(self.tensors, clips)}
            edge = {name for operator in self._edge for name in operator.parameters}
            weights = rounded_weights(self.program, dict.fromkeys(edge, bits))
            simulation = Simulation(self.program, grids, {n: w for n, w in weights.items() if n in edge})
        return [simulation.run(image) for image in inputs]


def quantization_error(frozen: Frozen, clips: np.ndarray, inputs: Sequence[np.ndarray], exact: Outputs) -> float:
    """Squared error of the rounded network's outputs over the squared norm of the exact ones; see `output_error`."""
    return output_error(frozen.outputs(inputs, clips), exact)


def _paths(folded: paddle.nn.Layer) -> Dict[str, str]:
    """Parameter name of each convolution's weights to its structural path."""
    return {layer.weight.name: path for path, layer in folded.named_sublayers() if isinstance(layer, paddle.nn.Conv2D)}
