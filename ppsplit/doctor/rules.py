"""What Paddle Lite's own list does not say: operators that are on it and fail all the same, and the usual ways out.

Each rule was measured with Paddle 2.6.2 and Paddle Lite 2.13rc0: converted for x86 and arm, run on x86 and held against
Paddle (docs/doctor.md has the figures, tests/doctor/test_rules.py converts some of them).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, Tuple

from ppsplit.doctor.finding import CAVEAT, FATAL

# An operator that is not on the list: what people do about it.
WAYS_OUT: Dict[str, str] = {
    "bicubic_interp_v2": "resize with nearest or bilinear",
    "celu": "use elu, which is the same for alpha 1",
    "channel_shuffle": "reshape, transpose, reshape; or give it NCHW",
    "einsum": "write it as transpose and matmul",
    "expand_as_v2": "use expand with the sizes written out",
    "eye": "make the matrix a buffer of the layer",
    "linear_interp_v2": "add a dimension and resize with bilinear",
    "log1p": "write log(1 + x)",
    "logsigmoid": "write log(sigmoid(x))",
    "logsumexp": "write log of the sum of exp",
    "pixel_unshuffle": "reshape, transpose, reshape",
    "selu": "use elu, scaled",
    "size": "write the number of elements out, it is fixed",
    "softsign": "write x / (1 + |x|)",
    "sum": "add two at a time with +",
    "trilinear_interp_v2": "resize with nearest or bilinear in two dimensions",
}
WAY_OUT = "cut before it, or write it with operators Paddle Lite has"


@dataclass(frozen=True)
class Rule:
    """An operator that is on the list and does not do.

    Attributes:
        kinds: operators it is about; () for any.
        applies: (operator, its block) to whether it does.
        state: FATAL, or CAVEAT where it converts and then fails or differs.
        what, cure: for the finding.
    """

    kinds: Tuple[str, ...]
    applies: Callable[[Any, Any], bool]
    state: str
    what: str
    cure: str


def _lacks_weights(op: Any, block: Any) -> bool:
    return not (op.input("Scale") and op.input("Bias"))


def _always(op: Any, block: Any) -> bool:
    return True


def _makes_scalar(op: Any, block: Any) -> bool:
    return any(block.has_var(name) and tuple(block.var(name).shape) == () for name in op.output("Out"))


def _half_or_double(op: Any, block: Any) -> bool:
    return op.attr("out_dtype") in (4, 6)  # Paddle's numbers of float16 and float64


def _pads_with_a_number(op: Any, block: Any) -> bool:
    return op.attr("mode") == "constant" and op.attr("value") != 0


# oneDNN computes these in its own blocked layout and hands that on.
_BLOCKED = ("conv2d", "conv2d_transpose", "depthwise_conv2d", "pool2d")
_KEEP_LAYOUT = ("concat", "hard_swish", "leaky_relu", "relu", "relu6", "scale", "sigmoid", "silu", "swish", "tanh")


def _reads_blocked_images(op: Any, block: Any) -> bool:
    """Whether a tensor of four dimensions comes from a convolution with nothing between that makes it plain again."""
    writers = {name: other for other in block.ops for name in other.output_arg_names}
    waiting = [name for name in op.input_arg_names if len(block.var(name).shape) == 4]
    seen = set(waiting)
    while waiting:
        writer = writers.get(waiting.pop())
        if writer is None:
            continue
        if writer.type in _BLOCKED:
            return True
        if writer.type in _KEEP_LAYOUT or writer.type.startswith("elementwise_"):
            waiting.extend(set(writer.input_arg_names) - seen)
            seen.update(writer.input_arg_names)
    return False


RULES: Tuple[Rule, ...] = (
    Rule(
        ("layer_norm", "batch_norm"),
        _lacks_weights,
        FATAL,
        "has no scale or no bias; Paddle Lite's optimizer crashes",
        "give the layer both (weight of ones, bias of zeros)",
    ),
    Rule(
        ("reduce_all", "reduce_any"),
        _always,
        FATAL,
        "its attribute dim has a type that Paddle Lite does not read",
        "cast to float and take the minimum or maximum",
    ),
    Rule(
        ("fill_constant",),
        lambda op, block: not op.input_arg_names and not list(op.attr("shape")),
        CAVEAT,
        "makes a tensor without dimensions; Paddle Lite ends the process when it runs",
        "give it the shape [1]",
    ),
    Rule(
        ("reduce_sum", "reduce_prod"),
        _makes_scalar,
        CAVEAT,
        "makes a tensor without dimensions; Paddle Lite crashes when it runs",
        "keep the dimensions (keepdim=True)",
    ),
    Rule(
        ("reduce_max", "reduce_mean", "reduce_min"),
        _makes_scalar,
        CAVEAT,
        "makes a tensor without dimensions; Paddle Lite gives it one",
        "keep the dimensions (keepdim=True)",
    ),
    Rule(
        ("cast",),
        _half_or_double,
        CAVEAT,
        "casts to float16 or float64; Paddle Lite ends the process when it runs",
        "compute in float32",
    ),
    Rule(
        ("pad3d",),
        _pads_with_a_number,
        CAVEAT,
        "pads with a number; Paddle Lite pads with 0 and the result is wrong",
        "pad with 0, or add the number before and take it away behind",
    ),
    Rule(("pad",), _always, CAVEAT, "crashes when Paddle Lite runs it", "pad height and width only"),
    Rule(
        ("elementwise_floordiv", "elementwise_mod"),
        _always,
        CAVEAT,
        "differs from Paddle's where a number is negative",
        "keep it to numbers that are not",
    ),
    Rule(
        ("matmul", "matmul_v2"),
        _reads_blocked_images,
        CAVEAT,
        "reads four dimensions right from a convolution: Paddle Inference with oneDNN gives wrong numbers, Paddle Lite "
        "right ones",
        "flatten height and width before it",
    ),
    Rule(("temporal_shift",), _always, CAVEAT, "computes something else than Paddle's", "cut before it"),
    Rule(
        ("bernoulli", "gaussian_random", "uniform_random", "randint", "randperm"),
        _always,
        CAVEAT,
        "draws random numbers: the halves cannot be compared with the whole",
        "call eval() on the network before it is saved",
    ),
    Rule(
        (),
        lambda op, block: bool(op.has_attr("sub_block")),
        CAVEAT,
        "is control flow; a program that has it is not cut",
        "write it without",
    ),
)
