"""A quantized program taken apart: which layers it has, how each is rounded, and the same with one of them exact.

Nothing is simulated here: the operators `quantize_linear` and `dequantize_linear` and the integers are the bundle's
own. To put a layer back, its operators are made to read what stood in front of the rounding, and its weights are
replaced by the fp32 program's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ppsplit.errors import ProgramError
from ppsplit.evaluate.quant_programs import HeldProgram
from ppsplit.export.buffers import IN_PLACE_KINDS
from ppsplit.export.calibration import QUANTIZED_KINDS
from ppsplit.export.graph import Graph
from ppsplit.export.program import FrozenProgram, static_mode
from ppsplit.export.simulate import Simulation
from ppsplit.paddle_first import paddle

QUANTIZE, DEQUANTIZE = "quantize_linear", "dequantize_linear"


@dataclass(frozen=True)
class Layer:
    """An operator with weights and what follows it in place: its bias and its activation function.

    Attributes:
        path: structural name, such as "conv4"; a tensor's name where nothing is known.
        output: the tensor behind the last of its operators.
        macs: for one image.
        weights: number of elements.
    """

    path: str
    output: str
    macs: int
    weights: int


@dataclass(frozen=True)
class Rounding:
    """How one layer is rounded; None is "not at all".

    Attributes:
        weight_bits, weight_scale: of the integers; the largest scale of all channels. 1 is one step.
        activation_bits, activation_scale, activation_clip: of what it reads; larger magnitudes than the clip saturate.
    """

    weight_bits: Optional[int] = None
    weight_scale: Optional[float] = None
    activation_bits: Optional[int] = None
    activation_scale: Optional[float] = None
    activation_clip: Optional[float] = None


def layers_of(program: FrozenProgram, stages: Mapping[str, str]) -> List[Layer]:
    """The layers with weights of an fp32 program, in its order.

    Args:
        stages: structural name to the tensor that the stage returns, outermost first; may know more than these.
    """
    graph = program.graph()
    names: Dict[str, str] = {}
    for stage, tensor in stages.items():
        names.setdefault(tensor, stage)
    found = []
    for operator in graph.operators:
        if operator.kind not in QUANTIZED_KINDS or not operator.parameters:
            continue
        chain = _chain(graph, operator.outputs[0])
        path = next((names[tensor] for tensor in reversed(chain) if tensor in names), chain[-1])
        weights = sum(graph.parameter_elements[name] for name in operator.parameters)
        found.append(Layer(path, chain[-1], operator.macs, weights))
    return found


def _chain(graph: Graph, tensor: str) -> List[str]:
    """`tensor` and what is computed from it, and from nothing else, by one elementwise operator after the other."""
    chain = [tensor]
    while True:
        readers = [operator for operator in graph.operators if chain[-1] in operator.inputs]
        if len(readers) != 1 or readers[0].kind not in IN_PLACE_KINDS or len(readers[0].inputs) > 1:
            return chain
        chain.append(readers[0].outputs[0])


class QuantizedProgram:
    """A head as the bundle holds it, beside the fp32 one it was made from.

    Args:
        held, exact: of the same network; the layers of one are those of the other, in order.

    Raises:
        ProgramError: they have not the same layers.
    """

    def __init__(self, held: HeldProgram, exact: FrozenProgram) -> None:
        self._held, self._exact, self._quantized = held, exact, held.program
        here, there = (_weighted(each.program.global_block()) for each in (held.program, exact))
        shapes = [[_values(p, name).shape for _, name in found] for p, found in ((held.program, here), (exact, there))]
        if shapes[0] != shapes[1]:
            raise ProgramError(
                f"the quantized head has {len(here)} layers of shapes {shapes[0]}, the fp32 one {len(there)} of "
                f"{shapes[1]}; export the bundle again"
            )
        self._weights = [name for _, name in here]
        self._exact_weights = [name for _, name in there]

    def roundings(self) -> List[Rounding]:
        """How each layer is rounded, in order."""
        block = self._quantized.program.global_block()
        makers = _makers(block)
        return [
            replace(self._weight_rounding(makers, position), **self._activation_rounding(makers, block.ops[index]))
            for position, (index, _) in enumerate(_weighted(block))
        ]

    def runner(self, fetches: Sequence[str], exact_layer: Optional[int] = None) -> Simulation:
        """The program, ready to run in Paddle's plain executor and to return `fetches`; see `Simulation.run`.

        Args:
            exact_layer: position of a layer to be put back to fp32; None for none.
        """
        simulation = Simulation(replace(self._quantized, fetch_names=list(fetches)), {}, {})
        if exact_layer is not None:
            with static_mode():
                self._put_back(simulation.frozen, exact_layer)
        return simulation

    def _put_back(self, copy: FrozenProgram, layer: int) -> None:
        block = copy.program.global_block()
        makers, weight = _makers(block), self._weights[layer]
        values = _values(self._exact, self._exact_weights[layer])
        if _values(copy, weight).dtype != np.float32:
            block.create_var(name=f"{weight}@exact", shape=values.shape, dtype="float32", persistable=True)
            copy.scope.var(f"{weight}@exact").get_tensor().set(values, paddle.CPUPlace())
        else:
            copy.scope.find_var(weight).get_tensor().set(values, paddle.CPUPlace())
        for index in _operators_of(block, layer):
            for name in dict.fromkeys(block.ops[index].input_arg_names):
                source = _before_rounding(makers, name)
                if source == weight and name != weight:
                    block.ops[index]._rename_input(name, f"{weight}@exact")
                elif source != name:
                    block.ops[index]._rename_input(name, source)

    def _weight_rounding(self, makers: Mapping[str, Any], position: int) -> Rounding:
        name = self._weights[position]
        for operator in makers.values():
            if operator.type == DEQUANTIZE and operator.input("X") == [name]:
                bits = int(operator.attr("bit_length"))
                clip = np.abs(_values(self._quantized, operator.input("Scale")[0])).max()
                return Rounding(bits, float(clip) / _levels(bits))
        grid = self._held.weights.get(name)
        return Rounding() if grid is None else Rounding(grid.bits, grid.scale)

    def _activation_rounding(self, makers: Mapping[str, Any], operator: Any) -> Dict[str, Any]:
        for name in operator.input_arg_names:
            maker = makers.get(name)
            codes = makers.get(maker.input("X")[0]) if maker is not None and maker.type == DEQUANTIZE else None
            if codes is not None and codes.type == QUANTIZE:
                bits = int(codes.attr("bit_length"))
                clip = float(_values(self._quantized, codes.input("Scale")[0]).max())
                shown = self._held.activation_bits.get(codes.input("X")[0], bits)
                return {"activation_bits": shown, "activation_scale": clip / _levels(bits), "activation_clip": clip}
        return {}


def _levels(bits: int) -> int:
    """Steps from 0 to the clip value on the signed grid."""
    return 2 ** (bits - 1) - 1


def _values(program: FrozenProgram, name: str) -> np.ndarray:
    return np.array(program.scope.find_var(name).get_tensor())


def _makers(block: Any) -> Dict[str, Any]:
    """Tensor to the operator that wrote it, the last where Paddle rounds one twice under one name, to the same."""
    return {name: operator for operator in block.ops for name in operator.output_arg_names}


def _before_rounding(makers: Mapping[str, Any], name: str) -> str:
    """The tensor or parameter that `name` is the rounded form of; `name` itself where it is none."""
    while name in makers and makers[name].type in (QUANTIZE, DEQUANTIZE):
        name = makers[name].input("X")[0]
    return name


def _weighted(block: Any) -> List[Tuple[int, str]]:
    """Position and weight of each operator that is quantized, as `ptq.weight_axes` knows them, through any rounding."""
    makers = _makers(block)
    found = []
    for index, operator in enumerate(block.ops):
        if operator.type in QUANTIZED_KINDS:
            sources = [_before_rounding(makers, name) for name in operator.input_arg_names]
            weights = [s for s in sources if block.var(s).persistable and len(block.var(s).shape) > 1]
            found += [(index, weights[0])] if weights else []
    return found


def _operators_of(block: Any, layer: int) -> List[int]:
    """Positions of a layer's operators: its own, and all that compute with its result up to the next layers'."""
    starts = {index: position for position, (index, _) in enumerate(_weighted(block))}
    owners: Dict[str, int] = {}
    found = []
    for index, operator in enumerate(block.ops):
        owner = starts.get(index, next((owners[n] for n in operator.input_arg_names if n in owners), -1))
        owners.update(dict.fromkeys(operator.output_arg_names, owner))
        if owner == layer and operator.type not in (QUANTIZE, DEQUANTIZE, "fetch"):
            found.append(index)
    return found
