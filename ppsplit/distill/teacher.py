"""The network to learn from: its heads, and maps in between. In Paddle Inference, which is three times as fast."""

from __future__ import annotations

import copy
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from ppsplit.distill.walk import evaluating, recorded, smallest_side, walked
from ppsplit.export.freeze import trace
from ppsplit.models.blocks import ConvBN
from ppsplit.models.fold import fold_batch_norm
from ppsplit.paddle_first import paddle
from ppsplit.runtime.paddle import PaddleRuntime

THREADS = 1
TOLERANCE = 1e-4  # relative; two runtimes add up in another order


class Teacher:
    """A network's heads and maps.

    Args:
        network: is left as it is.
        stages: structural names of sublayers whose outputs are wanted beside the heads.
        sides: input sides in pixels that will be asked for.
    """

    def __init__(self, network: paddle.nn.Layer, stages: Sequence[str], sides: Sequence[int]) -> None:
        self.params = network.params
        self.stages = list(stages)
        self._folded = fold_batch_norm(network)
        self._runtimes = {side: self._runtime(side) for side in dict.fromkeys(sides)}

    def _runtime(self, side: int) -> PaddleRuntime:
        with tempfile.TemporaryDirectory() as scratch:
            program, tensors = trace(self._folded, (side, side), Path(scratch))
            graph = program.graph()
            wanted = [*graph.outputs, *(tensors[stage] for stage in self.stages)]
            operators = program.with_constants([operator.index for operator in graph.operators])
            program.save_part(Path(scratch) / "teacher", operators, graph.inputs, wanted)
            return PaddleRuntime(Path(scratch) / "teacher.pdmodel", Path(scratch) / "teacher.pdiparams", THREADS)

    def __call__(self, images: np.ndarray) -> Tuple[List[np.ndarray], Dict[str, np.ndarray]]:
        """Heads, and stage to map, for images float32 [N, 3, S, S]."""
        runtime = self._runtimes[images.shape[2]]
        outputs = list(runtime.run({runtime.input_names[0]: images}).values())
        heads = len(outputs) - len(self.stages)
        return outputs[:heads], dict(zip(self.stages, outputs[heads:]))


def shared_start(student: paddle.nn.Layer, teacher: paddle.nn.Layer) -> Optional[str]:
    """The last stage up to which both compute the same, so that only the teacher need run it.

    Returns:
        the name of a sublayer right in the network, all in front of which is one chain; None where there is none.
    """
    stages = _leading_stages(student, teacher)
    side = smallest_side(student)
    images = paddle.rand([1, 3, side, side])
    while stages:
        if _is_start(student, stages, images):
            return stages[-1]
        stages.pop()
    return None


def start_of(student: paddle.nn.Layer, last: str) -> List[str]:
    """The stages up to and with `last`, which `shared_start` found."""
    order = _executed_stages(student)
    return order[: order.index(last) + 1]


def leave_out(network: paddle.nn.Layer, stages: Sequence[str]) -> paddle.nn.Layer:
    """The rest of a network: its forward takes the map of the last of `stages`. It shares all layers."""
    rest = copy.copy(network)
    rest._sub_layers = OrderedDict(
        (name, paddle.nn.Identity() if name in stages else layer) for name, layer in network._sub_layers.items()
    )
    return rest


def _leading_stages(student: paddle.nn.Layer, teacher: paddle.nn.Layer) -> List[str]:
    """The sublayers that run before the first one that differs from the teacher's."""
    mine, theirs = student.state_dict(), teacher.state_dict()
    differ = {
        name.split(".")[0]
        for name, tensor in mine.items()
        if list(tensor.shape) != list(theirs[name].shape) or not np.array_equal(tensor.numpy(), theirs[name].numpy())
    }
    order = _executed_stages(student)
    first = next((position for position, name in enumerate(order) if name in differ), len(order))
    return list(order[:first])


def _executed_stages(network: paddle.nn.Layer) -> List[str]:
    """Names of the sublayers right in `network`, in the order in which they run first."""
    return list(walked(network, [name for name, _ in network.named_children()]))


def _is_start(student: paddle.nn.Layer, stages: List[str], images: paddle.Tensor) -> bool:
    """Whether all that the rest needs of these stages is the last one's map."""
    try:
        with evaluating(student):
            with recorded(student, stages[-1:]) as maps:
                whole = student(images)
            given = maps[stages[-1]]
            if not isinstance(given, paddle.Tensor):
                return False
            rest = leave_out(student, stages)(given)
    except (ValueError, TypeError):  # a later layer also reads something in front; or a concat is gone
        return False
    return all(a.shape == b.shape and np.allclose(a.numpy(), b.numpy(), rtol=TOLERANCE) for a, b in zip(whole, rest))


def coarse_layers(network: paddle.nn.Layer, least_stride: int = 8) -> List[str]:
    """ConvBN layers whose maps have at most 1 / least_stride of the input's side: few values that say much."""
    maps = walked(network, [name for name, layer in network.named_sublayers() if isinstance(layer, ConvBN)])
    return [name for name, given in maps.items() if given.shape[2] * least_stride <= smallest_side(network)]
