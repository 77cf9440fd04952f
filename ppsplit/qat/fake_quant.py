"""Convolutions that round as the exported static int8 does, and still have gradients.

All rounding is by Paddle's own fake quantization, the operators that its quantization passes put into programs:
`fake_quantize_dequantize_moving_average_abs_max` with its scale given (`is_test`) for what enters a convolution, one
clip value a tensor, and `fake_channel_wise_quantize_dequantize_abs_max` for weights, by the largest magnitude of each
output channel. Both have straight-through gradients. The grid is the one of `export.simulate`: clip, then round,
halves away from 0. Batch normalisation is folded into the weights before they are rounded, with its statistics as
they are (Jacob et al., "Quantization and Training of Neural Networks ...", 2018, section 3.2, statistics frozen).

Clip values are learnt as logarithms (Jain et al., "Trained Quantization Thresholds", 2019, section 3): what is rounded
is x / clip on a grid up to 1, and clip multiplies the result, so that its gradient counts rounding and saturation.
"""

from __future__ import annotations

from typing import Dict, Mapping, Optional

import numpy as np

from ppsplit.models.blocks import ConvBN
from ppsplit.paddle_first import paddle

BITS = 8
LOG_CLIPS = "log_clips"  # the parameter that a network with quantizers has beside its kind's
OUTPUT_CHANNELS = 0  # axis of a convolution's weights


class Quantizers:
    """Puts quantizers into a network while a static program is written; `distill.gradients` calls it a dress.

    Args:
        readers: structural path of a convolution to the index of what it reads among the clip values.
        bits: of weights and activations.
    """

    def __init__(self, readers: Mapping[str, int], bits: int = BITS) -> None:
        self.readers, self.bits = dict(readers), bits

    def __call__(self, network: paddle.nn.Layer) -> None:
        """Give `network` the parameter for its clip values, and wrap its convolutions."""
        add_clips(network, np.ones(max(self.readers.values()) + 1))
        clips = paddle.exp(getattr(network, LOG_CLIPS))
        for path, index in self.readers.items():
            parent, name = _parent(network, path)
            conv, bn = getattr(parent, name), None
            if isinstance(parent, ConvBN) and isinstance(parent.bn, paddle.nn.BatchNorm2D):
                bn, parent.bn = parent.bn, paddle.nn.Identity()
            setattr(parent, name, _RoundedConv(conv, bn, clips[index : index + 1], self.bits))


def add_clips(network: paddle.nn.Layer, clips: np.ndarray) -> None:
    """Give a network clip values > 0, float [A], to learn."""
    initial = paddle.nn.initializer.Assign(np.log(clips).astype(np.float32))
    parameter = network.create_parameter([len(clips)], default_initializer=initial)
    setattr(network, LOG_CLIPS, parameter)


def clips_of(network: paddle.nn.Layer) -> np.ndarray:
    """The clip values that a network has learnt, float64 [A]."""
    clips: np.ndarray = np.exp(getattr(network, LOG_CLIPS).numpy().astype(np.float64))
    return clips


class _RoundedConv(paddle.nn.Layer):
    """A convolution of rounded activations by rounded weights, batch normalisation folded in.

    Args:
        conv: its parameters are used.
        bn: what follows it; None for nothing.
        clip: float32 [1], > 0.
    """

    def __init__(
        self, conv: paddle.nn.Conv2D, bn: Optional[paddle.nn.BatchNorm2D], clip: paddle.Tensor, bits: int
    ) -> None:
        super().__init__()
        self.conv, self.bn, self.clip, self.bits = conv, bn, clip, bits

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        conv, weight, bias = self.conv, self.conv.weight, self.conv.bias
        if self.bn is not None:
            gain = self.bn.weight / paddle.sqrt(self.bn._variance + self.bn._epsilon)
            weight = weight * gain.reshape([-1, 1, 1, 1])
            bias = self.bn.bias - self.bn._mean * gain
        return paddle.nn.functional.conv2d(
            _rounded(x, self.clip, self.bits),
            _rounded_weights(weight, self.bits),
            bias,
            conv._stride,
            conv._updated_padding,
            conv._dilation,
            conv._groups,
        )


def _rounded(x: paddle.Tensor, clip: paddle.Tensor, bits: int) -> paddle.Tensor:
    """`x` on the signed grid up to `clip`."""
    share = paddle.clip(x / clip, -1, 1)  # Paddle's operator clips, too, but lets gradients of what it clips pass
    inputs = {"X": share, "InScale": paddle.ones([1])}
    kind = "fake_quantize_dequantize_moving_average_abs_max"
    return _appended(kind, inputs, {"bit_length": bits, "is_test": True}) * clip


def _rounded_weights(weight: paddle.Tensor, bits: int) -> paddle.Tensor:
    """Weights [O, I, h, w], each output channel on the signed grid up to its largest magnitude."""
    kind = "fake_channel_wise_quantize_dequantize_abs_max"
    return _appended(kind, {"X": weight}, {"bit_length": bits, "quant_axis": OUTPUT_CHANNELS})


def _appended(kind: str, inputs: Dict[str, paddle.Tensor], attributes: Dict[str, object]) -> paddle.Tensor:
    """The first output of an operator for which Paddle has no function."""
    helper = paddle.base.layer_helper.LayerHelper(kind)
    rounded = helper.create_variable_for_type_inference("float32")
    scale = helper.create_variable_for_type_inference("float32", stop_gradient=True)
    outputs = {"Out": rounded, "OutScale": scale}
    helper.append_op(type=kind, inputs=inputs, outputs=outputs, attrs=attributes)
    return rounded


def _parent(network: paddle.nn.Layer, path: str) -> "tuple[paddle.nn.Layer, str]":
    """The layer that has the one at `path`, and its name there."""
    above, _, name = path.rpartition(".")
    return dict(network.named_sublayers(include_self=True))[above], name
