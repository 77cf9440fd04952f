"""A frozen program that rounds as a quantized one would, in float32: for errors, losses and certificates.

Activations pass through `quantize_linear` and `dequantize_linear` in front of the operators with weights, placed and
named as Paddle's PostTrainingQuantization does with `onnx_format`; weights are replaced by their rounded values.

    quantize_linear   clip x to [-s, s], then round(x * (2^(b-1) - 1) / s), halves away from 0 (round_type 1)

This is the signed grid of `quant.uniform` but for exact halves, which that rounds to even. Round_type 0, Paddle's
own, rounds halves to even and lets what is below -s become -2^(b-1). The unsigned grid of b bits over [0, s] is the
upper half of the signed one of b + 1: that is how a tensor that is never negative gets its full 2^b levels here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Sequence

import numpy as np

from ppsplit.errors import QuantizationError
from ppsplit.export.calibration import QUANTIZED_KINDS
from ppsplit.export.program import FrozenProgram, static_mode
from ppsplit.paddle_first import paddle

CLIP_FIRST = 1  # round_type
EVERY_OP = -1  # quant_axis of one scale for the tensor


@dataclass(frozen=True)
class ActivationGrid:
    """How one activation is rounded.

    Attributes:
        clip: > 0; larger magnitudes saturate.
        bits: 2..8.
        one_sided: the tensor is never negative; all levels are for [0, clip].
        stored: it is kept in memory like this, so that every operator reads the rounded values and not only those
            with weights.
    """

    clip: float
    bits: int
    one_sided: bool = False
    stored: bool = False


class Simulation:
    """A copy of a frozen program with quantizers in it. The original stays as it was.

    Attributes:
        frozen: the copy, with parameters in a scope of its own; `save_part` writes it as it stands.
    """

    def __init__(
        self, program: FrozenProgram, activations: Mapping[str, ActivationGrid], weights: Mapping[str, np.ndarray]
    ) -> None:
        """Copy `program` and put the quantizers in.

        Args:
            activations: tensor name to its grid; each is read by an operator with weights.
            weights: parameter name to the float32 values that take its place.

        Raises:
            QuantizationError: no operator with weights reads a tensor, or there is no such parameter.
        """
        with static_mode():
            copy = paddle.static.Program.parse_from_string(program.program.desc.serialize_to_string())
            self.frozen = FrozenProgram(copy, paddle.static.Scope(), program.feed_names, program.fetch_names)
            self._copy_parameters(program)
            for name, grid in activations.items():
                self._insert(name, grid)
            self._executor = paddle.static.Executor(paddle.CPUPlace())
        for name, values in weights.items():
            self.set_weight(name, values)

    def set_clip(self, name: str, clip: float) -> None:
        """Another clip value for an activation that has a grid. Raises QuantizationError where it has none."""
        if not np.isfinite(clip) or clip <= 0:
            raise QuantizationError(f"a clip value is finite and above 0, not {clip}")
        self._set(f"{name}@scale", np.array([clip], np.float32))

    def set_weight(self, name: str, values: np.ndarray) -> None:
        """Other values for a parameter, of its shape. Raises QuantizationError where there is none such."""
        self._set(name, np.asarray(values, np.float32))

    @static_mode()
    def run(self, image: np.ndarray) -> List[np.ndarray]:
        """The program's outputs for one input [N, 3, H, W], in its order, by Paddle's plain executor."""
        feeds = {self.frozen.feed_names[0]: image}
        with paddle.static.scope_guard(self.frozen.scope):
            found: List[np.ndarray] = self._executor.run(
                self.frozen.program, feed=feeds, fetch_list=list(self.frozen.fetch_names)
            )
        return found

    def _copy_parameters(self, program: FrozenProgram) -> None:
        for name in _parameters(program):
            values = np.array(program.scope.find_var(name).get_tensor())
            self.frozen.scope.var(name).get_tensor().set(values, paddle.CPUPlace())

    def _set(self, name: str, values: np.ndarray) -> None:
        variable = self.frozen.scope.find_var(name)
        if variable is None or tuple(variable.get_tensor().shape()) != values.shape:
            raise QuantizationError(f"the program has no parameter {name!r} of shape {list(values.shape)}")
        variable.get_tensor().set(values, paddle.CPUPlace())

    def _insert(self, name: str, grid: ActivationGrid) -> None:
        """Quantize and dequantize `name` in front of the first reader concerned; all of those read the result."""
        block = self.frozen.program.global_block()
        readers = [
            index
            for index, op in enumerate(block.ops)
            if name in op.input_arg_names and (op.type in QUANTIZED_KINDS or (grid.stored and op.type != "fetch"))
        ]
        if not readers:
            raise QuantizationError(f"no operator with weights reads {name!r}; see `quantizable_activations`")
        source = block.var(name)
        codes, values = f"{name}.quantized", f"{name}.quantized.dequantized"
        for made in (codes, values):
            block.create_var(name=made, shape=source.shape, dtype=source.dtype)
        self._create_parameter(f"{name}@scale", np.array([grid.clip], np.float32))
        self._create_parameter(f"{codes}@zero_point", np.zeros(1, np.int32))
        attributes = {
            "bit_length": grid.bits + (1 if grid.one_sided else 0),
            "quant_axis": EVERY_OP,
            "round_type": CLIP_FIRST,
            "is_test": True,
            "only_observer": False,
        }
        for place, (kind, read, written) in enumerate(
            (("quantize_linear", name, codes), ("dequantize_linear", codes, values))
        ):
            inputs = {"X": [read], "Scale": [f"{name}@scale"], "ZeroPoint": [f"{codes}@zero_point"]}
            taken = {key: value for key, value in attributes.items() if _has_attribute(kind, key)}
            block._insert_op(readers[0] + place, type=kind, inputs=inputs, outputs={"Y": [written]}, attrs=taken)
        for index in readers:
            block.ops[index + 2]._rename_input(name, values)

    def _create_parameter(self, name: str, values: np.ndarray) -> None:
        block = self.frozen.program.global_block()
        block.create_var(name=name, shape=values.shape, dtype=str(values.dtype), persistable=True)
        self.frozen.scope.var(name).get_tensor().set(values, paddle.CPUPlace())


def output_error(found: Sequence[Sequence[np.ndarray]], exact: Sequence[Sequence[np.ndarray]]) -> float:
    """Mean over a network's outputs of the squared error over the squared norm, both summed over all images.

    An output's own norm divides it, so that a head of large values does not drown the others.

    Args:
        found, exact: for each image its outputs.
    """
    errors = []
    for output in range(len(exact[0])):
        noise = sum(float(np.square(f[output].astype(np.float64) - e[output]).sum()) for f, e in zip(found, exact))
        power = sum(float(np.square(e[output].astype(np.float64)).sum()) for e in exact)
        errors.append(noise / power if power else float(noise > 0))
    return float(np.mean(errors))


def parameter_values(program: FrozenProgram) -> Dict[str, np.ndarray]:
    """Every parameter of a program by name, copied."""
    return {name: np.array(program.scope.find_var(name).get_tensor()) for name in _parameters(program)}


def _parameters(program: FrozenProgram) -> List[str]:
    return [v.name for v in program.program.list_vars() if paddle.static.io.is_persistable(v)]


def _has_attribute(kind: str, name: str) -> bool:
    proto: Any = paddle.base.framework.OpProtoHolder.instance().get_op_proto(kind)
    return any(attribute.name == name for attribute in proto.attrs)
