"""Batch normalisation into the convolution before it. Done at export: fewer operators, the same function."""

from __future__ import annotations

import copy

import numpy as np

from ppsplit.models.blocks import ConvBN
from ppsplit.paddle_first import paddle


def fold_batch_norm(network: paddle.nn.Layer) -> paddle.nn.Layer:
    """A copy of `network`, for inference, in which every ConvBN is a convolution with bias.

    w' = w * g / sqrt(var + eps), b' = beta - mean * g / sqrt(var + eps), computed in float64.
    Names of layers stay. The original is untouched; a network already folded comes back as a plain copy.
    """
    folded = copy.deepcopy(network)
    folded.eval()
    for layer in folded.sublayers(include_self=True):
        if isinstance(layer, ConvBN) and isinstance(layer.bn, paddle.nn.BatchNorm2D):
            _fold(layer)
    return folded


def _fold(block: ConvBN) -> None:
    bn, conv = block.bn, block.conv
    mean, variance = bn._mean.numpy().astype(np.float64), bn._variance.numpy().astype(np.float64)
    gain = bn.weight.numpy().astype(np.float64) / np.sqrt(variance + bn._epsilon)
    weight = conv.weight.numpy().astype(np.float64) * gain[:, None, None, None]
    bias = bn.bias.numpy().astype(np.float64) - mean * gain

    conv.weight.set_value(weight.astype(np.float32))
    conv.bias = conv.create_parameter(shape=list(bias.shape), is_bias=True)
    conv.bias.set_value(bias.astype(np.float32))
    block.bn = paddle.nn.Identity()
