"""Gradients at the cut, through the bundle's own cloud half.

It is a static program, and on a CPU oneDNN computes convolutions and their gradients only in those.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

import numpy as np

from ppsplit.errors import CalibrationError
from ppsplit.export.program import FrozenProgram, static_mode
from ppsplit.paddle_first import paddle

# operators whose gradient reads an output that Paddle clips when it saves a program, and other exporters never write
SHAPED = ("flatten2", "flatten_contiguous_range", "reshape2", "squeeze2", "transpose2", "unsqueeze2")
BY_ONEDNN = ("conv2d", "conv2d_grad", "depthwise_conv2d", "depthwise_conv2d_grad")


class TailGradients:
    """Of the cloud half's outputs by the tensors that cross.

    Args:
        prefix: of the frozen tail, without suffix.
        wanted: tensors that cross and that it reads.

    Raises:
        ProgramError: not a frozen program.
        CalibrationError: an operator of it has no gradient.
    """

    def __init__(self, prefix: Path, wanted: Sequence[str]) -> None:
        self._frozen = FrozenProgram.load(prefix)
        self._wanted = list(wanted)
        block = self._frozen.program.global_block()
        with static_mode():
            for index in reversed(range(len(block.ops))):
                if block.ops[index].type in ("feed", "fetch"):
                    block._remove_op(index)
            for operator in block.ops:
                _complete(block, operator)
            self._gradients = self._with_gradients(block)
            for operator in block.ops:
                if operator.type in BY_ONEDNN and not paddle.device.is_compiled_with_cuda():
                    operator._set_attr("use_mkldnn", True)
            self._executor = paddle.static.Executor(paddle.CPUPlace())

    def _with_gradients(self, block: Any) -> List[object]:
        fetches = self._frozen.fetch_names
        try:
            with paddle.static.program_guard(self._frozen.program, paddle.static.Program()):
                outputs = [block.var(name) for name in fetches]
                inputs = [block.var(name) for name in self._wanted]
                for tensor in inputs:
                    tensor.stop_gradient = False
                given = [paddle.static.data(_cotangent(name), out.shape) for name, out in zip(fetches, outputs)]
                found: List[object] = paddle.static.gradients(outputs, inputs, given)
        except (RuntimeError, ValueError, NotImplementedError, AttributeError) as error:
            raise CalibrationError(f"the cloud half has no gradient ({error!r:.300}); choose another cut") from error
        if any(gradient is None for gradient in found):
            raise CalibrationError("a tensor at the cut has no influence on the outputs; choose another cut")
        return found

    def __call__(
        self, features: Mapping[str, np.ndarray], cotangents: Mapping[str, np.ndarray]
    ) -> Dict[str, np.ndarray]:
        """Gradients of the sum of outputs times cotangents, float32 of each wanted tensor's shape.

        Args:
            features: all tensors that the tail reads.
            cotangents: output name to its weights; outputs that the tail does not compute are left out.
        """
        feeds = {name: features[name] for name in self._frozen.feed_names}
        feeds.update({_cotangent(name): cotangents[name] for name in self._frozen.fetch_names})
        with static_mode():
            found = self._executor.run(
                self._frozen.program, feed=feeds, fetch_list=self._gradients, scope=self._frozen.scope
            )
        return dict(zip(self._wanted, found))


def _complete(block: Any, operator: Any) -> None:
    """Give a reshaping operator back the output that tells its gradient the shape before."""
    if operator.type in SHAPED and not ("XShape" in operator.output_names and operator.output("XShape")):
        before = block.var(operator.input("X")[0])
        name = f"shape before {operator.output('Out')[0]}"
        block.create_var(name=name, shape=[0, *before.shape], dtype=before.dtype)
        operator.desc.set_output("XShape", [name])


def _cotangent(name: str) -> str:
    """A name that no tensor can have."""
    return f"by {name}"
