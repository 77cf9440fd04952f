"""Reproducible numbers for tests and golden files: numpy's RandomState, whose stream is frozen."""

from __future__ import annotations

import numpy as np

from ppsplit.models.blocks import ConvBN, conv_layers
from ppsplit.paddle_first import paddle


def randomise(network: paddle.nn.Layer, seed: int, head_gain: float = 1.0) -> None:
    """Fill `network` with random weights under which values neither vanish nor explode, every BN a real one.

    Args:
        head_gain: multiplies the heads' kernels; large values make confident boxes.
    """
    random = np.random.RandomState(seed)
    for layer in conv_layers(network):
        shape = layer.conv.weight.shape
        limit = np.sqrt(6.0 / (shape[1] * shape[2] * shape[3]))
        if isinstance(layer, ConvBN):
            bn = layer.bn
            for tensor, low, high in (
                *((bn.bias, -0.2, 0.2), (bn.weight, 0.6, 1.0)),
                *((bn._mean, -0.2, 0.2), (bn._variance, 0.7, 1.5)),
            ):
                tensor.set_value(random.uniform(low, high, shape[0]).astype(np.float32))
        else:
            limit *= head_gain
            layer.conv.bias.set_value(random.uniform(-4, -1, shape[0]).astype(np.float32))
        layer.conv.weight.set_value(random.uniform(-limit, limit, shape).astype(np.float32))


def random_image(seed: int, height: int, width: int) -> np.ndarray:
    """float32 [3, height, width] in 0..1."""
    return np.random.RandomState(seed).uniform(size=(3, height, width)).astype(np.float32)
