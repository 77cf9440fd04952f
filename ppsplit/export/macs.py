"""Multiply-accumulates of Paddle operators, for one image.

Convolutions and matrix products are counted, as is usual; a recurrent network or a custom operator counts 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

CONVOLUTIONS = ("conv2d", "depthwise_conv2d", "conv3d", "deformable_conv")
TRANSPOSED_CONVOLUTIONS = ("conv2d_transpose", "depthwise_conv2d_transpose", "conv3d_transpose")
MATRIX_PRODUCTS = ("matmul_v2", "matmul", "mul", "fc", "bmm")


def operator_macs(op: Any, block: Any) -> int:
    """Multiply-accumulates of `op` for a batch of one; 0 for kinds that do none worth counting.

    A convolution counts output elements x kernel area x input channels per group, a matrix product
    output elements x inner size. Biases and activations are not counted, as is usual.
    """
    if op.type in CONVOLUTIONS:
        kernel = block.var(op.input("Filter")[0]).shape  # [out, in / groups, *kernel]
        return _elements(block, op.output("Output")[0]) * int(np.prod(kernel[1:]))
    if op.type in TRANSPOSED_CONVOLUTIONS:
        kernel = block.var(op.input("Filter")[0]).shape  # [in, out / groups, *kernel]
        return _elements(block, op.input("Input")[0]) * int(np.prod(kernel[1:]))
    if op.type in MATRIX_PRODUCTS:
        left = block.var(op.input("X" if op.type != "fc" else "Input")[0]).shape
        inner = left[-2] if op.has_attr("trans_x") and op.attr("trans_x") else left[-1]
        if op.type == "mul":
            inner = int(np.prod([max(s, 1) for s in left[op.attr("x_num_col_dims") :]]))
        return _elements(block, op.output("Out")[0]) * max(int(inner), 1)
    return 0


def _elements(block: Any, name: str) -> int:
    return int(np.prod([max(size, 1) for size in block.var(name).shape]))
