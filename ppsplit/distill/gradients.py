"""How a network is to change to come nearer to its teacher, by static programs.

On a CPU Paddle computes convolutions and their gradients by oneDNN only in a static program, at twice the speed of its
dynamic ones; the parameters stay those of the dynamic network, which an optimizer changes.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ppsplit.distill.distances import PARTS, feature_distance, head_distances
from ppsplit.distill.teacher import leave_out
from ppsplit.distill.walk import recorded
from ppsplit.models.narrow import narrow_to
from ppsplit.paddle_first import paddle

BY_ONEDNN = ("conv2d", "conv2d_grad", "depthwise_conv2d", "depthwise_conv2d_grad")

Shape = Tuple[int, ...]
Dress = Callable[[paddle.nn.Layer], None]


class Gradients:
    """The distances of a network from its teacher, and their gradients. Batch normalisation keeps its statistics.

    Args:
        network: its parameters are read at every call, and are given their gradients.
        start: sublayers right in it that are left out: what they would give is given instead.
        compared: sublayers whose maps are compared with the teacher's.
        kept: layer to int64, which of the teacher's channels it still has.
        feature_weight: of the distance between maps.
        dress: given the network's twin in a static program, changes what its layers compute. Parameters that the
            network has beside its kind's are added here, under the same names.
    """

    def __init__(
        self,
        network: paddle.nn.Layer,
        start: Sequence[str],
        compared: Sequence[str],
        kept: Mapping[str, np.ndarray],
        feature_weight: float,
        dress: Optional[Dress] = None,
    ) -> None:
        self.dress = dress
        self.network, self.start, self.compared = network, start, compared
        self.kept, self.feature_weight = kept, feature_weight
        state = network.state_dict()
        self.learnt = {name: state[name] for name in state if not state[name].stop_gradient and not self._gone(name)}
        self._programs: Dict[Shape, _Program] = {}

    def _gone(self, name: str) -> bool:
        return name.split(".")[0] in self.start

    def __call__(
        self, given: np.ndarray, heads: Sequence[np.ndarray], maps: Mapping[str, np.ndarray]
    ) -> Dict[str, float]:
        """Set the gradients of all parameters behind the start.

        Args:
            given: the start's map, or images where there is none, float32 [N, C, H, W].
            heads: of the teacher, float32 [N, A * (5 + C), H, W].
            maps: compared layer to the teacher's map.

        Returns:
            the distances, `PARTS`.
        """
        theirs = {**{_head(i): head for i, head in enumerate(heads)}, **{name: maps[name] for name in self.compared}}
        if given.shape not in self._programs:
            self._programs[given.shape] = _Program(self, given, theirs, len(heads))
        state = {name: tensor for name, tensor in self.network.state_dict().items() if not self._gone(name)}
        distances, gradients = self._programs[given.shape].run(given, theirs, state)
        for name, gradient in gradients.items():
            self.learnt[name].grad = paddle.to_tensor(gradient)
        return distances


class _Program:
    """One static program, for inputs of one shape."""

    def __init__(self, of: Gradients, given: np.ndarray, theirs: Mapping[str, np.ndarray], heads: int) -> None:
        with _static(), paddle.utils.unique_name.guard():
            self._program, self._scope = paddle.static.Program(), paddle.static.Scope()
            with paddle.static.program_guard(self._program, paddle.static.Program()):
                whole = _twin(of.network)
                tensors = whole.state_dict()
                if of.dress is not None:
                    of.dress(whole)
                    tensors = {**whole.state_dict(), **tensors}  # a layer that is wrapped now keeps its names
                self._tensors = {name: tensor.name for name, tensor in tensors.items()}
                twin = leave_out(whole, of.start)
                inputs = {name: paddle.static.data(name, array.shape) for name, array in theirs.items()}
                with recorded(twin, of.compared) as mine:
                    found = twin(paddle.static.data("given", given.shape))
                parts = head_distances(found, [inputs[_head(i)] for i in range(heads)], of.network.params)
                parts["feature"] = feature_distance(mine, inputs, of.kept) * of.feature_weight
                total = paddle.add_n(list(parts.values()))
                pairs = paddle.static.append_backward(total, [self._tensors[name] for name in of.learnt])
            self._executor = paddle.static.Executor(_place())
        gradient_of = {parameter.name: gradient for parameter, gradient in pairs}
        self._learnt = list(of.learnt)
        self._wanted = [parts[name] for name in PARTS] + [gradient_of[self._tensors[name]] for name in self._learnt]
        if not paddle.device.is_compiled_with_cuda():
            _use_onednn(self._program)

    def run(
        self, given: np.ndarray, theirs: Mapping[str, np.ndarray], state: Mapping[str, paddle.Tensor]
    ) -> Tuple[Dict[str, float], Dict[str, np.ndarray]]:
        for name, tensor in state.items():
            self._scope.var(self._tensors[name]).get_tensor().set(tensor.numpy(), _place())
        with _static():
            found: List[np.ndarray] = self._executor.run(
                self._program, feed={"given": given, **theirs}, fetch_list=self._wanted, scope=self._scope
            )
        distances = {name: float(value) for name, value in zip(PARTS, found)}
        return distances, dict(zip(self._learnt, found[len(PARTS) :]))


def _head(index: int) -> str:
    """A name that no sublayer can have."""
    return f"head {index}"


def _twin(network: paddle.nn.Layer) -> paddle.nn.Layer:
    """A network of the same kind and as wide, its parameters those of the program being written."""
    twin = type(network)(network.params)
    narrow_to(twin, {name: tensor.numpy() for name, tensor in network.state_dict().items()})
    for layer in twin.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            layer.eval()
    return twin


def _place() -> object:
    return paddle.CUDAPlace(0) if paddle.device.get_device().startswith("gpu") else paddle.CPUPlace()


def _use_onednn(program: paddle.static.Program) -> None:
    """For convolutions only: of the other kinds, some have no oneDNN kernel for what is asked of them here."""
    for operator in program.global_block().ops:
        if operator.type in BY_ONEDNN:
            operator._set_attr("use_mkldnn", True)


@contextmanager
def _static() -> Iterator[None]:
    """Paddle has one mode for the whole process."""
    paddle.enable_static()
    try:
        yield
    finally:
        paddle.disable_static()
