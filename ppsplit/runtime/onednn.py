"""Which operators Paddle Inference may hand to oneDNN.

All that Paddle 2.6 has an oneDNN kernel for, but for two kinds (tests/runtime/test_paddle_runtime.py):

- products of matrices: behind a convolution their input lies in oneDNN's blocked order, and a product of rank 4 reads
  it as if it did not. Its result is then off by some 70 per cent, without a word.
- `pad`, the operator of any rank (not `pad3d`): its kernel writes beyond what it was given, and the process ends.
"""

from __future__ import annotations

ONEDNN_OPERATORS = frozenset(
    (
        *("abs", "batch_norm", "bilinear_interp", "bilinear_interp_v2", "clip", "concat", "conv2d", "conv2d_transpose"),
        *("conv3d", "depthwise_conv2d", "dequantize", "elementwise_add", "elementwise_div", "elementwise_mul"),
        *("elementwise_sub", "elu", "exp", "expand_v2", "fc", "fill_constant", "flatten", "flatten2", "fused_conv2d"),
        *("fused_conv3d", "fused_elementwise_add", "fused_elementwise_div", "fused_elementwise_mul"),
        *("fused_elementwise_sub", "fused_softplus", "fused_transpose", "fusion_gru", "fusion_lstm"),
        *("gaussian_random", "gelu", "hard_swish", "layer_norm", "leaky_relu", "log_softmax", "lrn", "mish"),
        *("multi_gru", "nearest_interp", "nearest_interp_v2", "pad3d", "pool2d", "prelu", "prior_box"),
        *("quantize", "reduce_max", "reduce_mean", "reduce_min", "reduce_sum", "relu", "relu6", "requantize"),
        *("reshape", "reshape2", "round", "scale", "shape", "shuffle_channel", "sigmoid", "slice", "softmax"),
        *("softplus", "split", "sqrt", "squeeze", "squeeze2", "stack", "sum", "swish", "tanh", "transpose"),
        *("transpose2",),
    )
)
