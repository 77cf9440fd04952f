"""A pruned network is the published one with fewer channels here and there; the shapes of its weights say where."""

from __future__ import annotations

from typing import Dict, List

import numpy as np

from ppsplit.errors import WeightsError
from ppsplit.paddle_first import paddle

PER_CHANNEL = ("weight", "bias", "_mean", "_variance")  # what batch normalisation holds for each


def narrow_to(network: paddle.nn.Layer, tensors: Dict[str, np.ndarray]) -> None:
    """Give the convolutions and batch normalisations of `network` the channels that `tensors` have.

    Kernel sizes stay, so a file of another network still does not fit. What the channels then hold is undefined:
    `assign_tensors` comes next.

    Args:
        tensors: structural name to array, as of a checkpoint; names that are missing are left alone.

    Raises:
        WeightsError: channels were removed where the layer's neighbours or its groups cannot do without.
    """
    for name, layer in network.named_sublayers():
        found = tensors.get(f"{name}.weight")
        if found is None or list(found.shape) == list(layer.weight.shape) or 0 in found.shape:
            continue
        if isinstance(layer, paddle.nn.Conv2D) and found.shape[2:] == tuple(layer.weight.shape[2:]):
            _narrow_convolution(layer, name, found.shape)
        elif isinstance(layer, paddle.nn.BatchNorm2D) and found.ndim == 1:
            _narrow_batch_norm(layer, len(found))


def _narrow_convolution(layer: paddle.nn.Conv2D, name: str, shape: "tuple[int, ...]") -> None:
    depthwise = layer._groups > 1 and layer._groups == layer.weight.shape[0]
    if layer._groups > 1 and not depthwise:
        raise WeightsError(f"{name} is a convolution in groups, whose channels cannot be pruned; prune other layers")
    if depthwise:
        layer._groups = int(shape[0])
    layer._out_channels, layer._in_channels = int(shape[0]), int(shape[1]) * layer._groups
    layer.weight = layer.create_parameter(list(shape))
    if layer.bias is not None:
        layer.bias = layer.create_parameter([shape[0]], is_bias=True)


def _narrow_batch_norm(layer: paddle.nn.BatchNorm2D, channels: int) -> None:
    layer._num_features = channels
    for name in PER_CHANNEL:
        tensor = getattr(layer, name)
        narrowed = layer.create_parameter([channels])
        narrowed.stop_gradient = tensor.stop_gradient
        setattr(layer, name, narrowed)


def check_channels(network: paddle.nn.Layer, origin: str) -> None:
    """Raises WeightsError where the channels of `network`'s layers do not fit together; `origin` is the file."""
    params, side = network.params, max(network.params.strides)
    training: List[bool] = [layer.training for layer in network.sublayers(include_self=True)]
    network.eval()
    try:
        with paddle.no_grad():
            found = [head.shape[1] for head in network(paddle.zeros([1, 3, side, side]))]
    except ValueError as error:
        line = next((line for line in str(error).splitlines() if "Error" in line), str(error)[:200])
        raise WeightsError(f"the channels of {origin} do not fit together: {line}") from error
    finally:
        for layer, was in zip(network.sublayers(include_self=True), training):
            layer.training = was
    wanted = list(params.output_channels)
    if found != wanted:  # a head's outputs cannot be pruned; such a file is of another number of classes
        raise WeightsError(
            f"{origin} does not fit {network.model_name}: its heads have {found} channels, {wanted} were expected for "
            f"{params.num_classes} classes; give the weights of a network with as many classes"
        )
