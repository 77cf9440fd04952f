"""Biases as vectors, so that runtimes fuse them.

Paddle traces a convolution's bias as a reshape to [1, C, 1, 1] and an addition. oneDNN's passes know only the older
form, a vector added along axis 1: without it a bias is an operator of its own, in float32 and in int8, where its sum
is rounded once more in front of the activation function.
"""

from __future__ import annotations

from typing import Any, Dict

from ppsplit.export.program import FrozenProgram, static_mode
from ppsplit.paddle_first import paddle

CHANNEL_AXIS = 1


def with_vector_biases(program: FrozenProgram) -> FrozenProgram:
    """A copy in which every bias that was reshaped to [1, C, 1, 1] is added as a vector; the same values come out.

    The parameters are shared, tensors keep their names. A program without such biases comes back equal.
    """
    with static_mode():
        copy = paddle.static.Program.parse_from_string(program.program.desc.serialize_to_string())
        block = copy.global_block()
        reshaped = _reshaped_vectors(block)
        for op in block.ops:
            if op.type != "elementwise_add" or op.attr("axis") not in (-1, CHANNEL_AXIS):
                continue
            bias = op.input("Y")[0]
            if bias in reshaped and len(block.var(op.input("X")[0]).shape) == 4:
                op.desc.set_input("Y", [reshaped[bias]])
                op.desc._set_attr("axis", CHANNEL_AXIS)
        _drop_unread(block, reshaped)
        copy.desc.flush()
    return FrozenProgram(copy, program.scope, program.feed_names, program.fetch_names)


def _reshaped_vectors(block: Any) -> Dict[str, str]:
    """Tensor [1, C, 1, 1] to the parameter [C] that it is."""
    found = {}
    for op in block.ops:
        if op.type != "reshape2":
            continue
        source, made = op.input("X")[0], op.output("Out")[0]
        vector = block.var(source)
        if vector.persistable and len(vector.shape) == 1 and tuple(op.attr("shape")) in _shapes(vector.shape[0]):
            found[made] = source
    return found


def _shapes(channels: int) -> Any:
    return ((1, channels, 1, 1), (1, -1, 1, 1))


def _drop_unread(block: Any, reshaped: Dict[str, str]) -> None:
    read = {name for op in block.ops for name in op.input_arg_names}
    for index in reversed(range(len(block.ops))):
        op = block.ops[index]
        if op.type == "reshape2" and op.output("Out")[0] in reshaped and op.output("Out")[0] not in read:
            block._remove_op(index)
