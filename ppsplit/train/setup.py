"""The network a training begins with."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import List, Mapping, Optional, Tuple

import numpy as np

from ppsplit.image import Preprocess
from ppsplit.models import build_model
from ppsplit.models.backbone import load_backbone
from ppsplit.models.blocks import HeadConv
from ppsplit.models.checkpoint import read_checkpoint
from ppsplit.models.narrow import check_channels, narrow_to
from ppsplit.models.weights import CHECKPOINT, kind_of, load_network
from ppsplit.paddle_first import paddle

OBJECT_PRIOR = 0.01  # of a fresh head's cells; at 0.5 the many empty ones would drown the first steps (Lin, 2017)


def fresh_network(model: str, num_classes: int, width: float, seed: int) -> paddle.nn.Layer:
    """A network with random weights that depend on `seed` alone."""
    paddle.seed(seed)
    network = build_model(model, num_classes, width)
    for layer in network.sublayers():
        if isinstance(layer, HeadConv):
            _expect_few_objects(layer, 5 + num_classes)
    return network


def pretrained_network(
    model: str, weights: Path, num_classes: int, seed: int
) -> Tuple[paddle.nn.Layer, Preprocess, Optional[str]]:
    """A network with the weights of a file, whatever number of classes that was made for.

    Args:
        weights: any that `load_weights` knows; a checkpoint of this project also says how wide the network is.

    Returns:
        the network, how images become its input, and what had to be begun afresh, None for nothing.

    Raises:
        WeightsError: the file is not of this network.
    """
    source, preprocess = load_network(model, weights)
    if source.params.num_classes == num_classes:
        return source, preprocess, None
    network = fresh_network(model, num_classes, source.params.width, seed)
    network.params = dataclasses.replace(source.params, num_classes=num_classes)
    _make_as_wide_as(network, {name: tensor.numpy() for name, tensor in source.state_dict().items()})
    known, fresh = source.state_dict(), []
    for name, tensor in network.state_dict().items():
        if list(known[name].shape) == list(tensor.shape):
            tensor.set_value(known[name])
        else:
            fresh.append(name)
    note = f"{weights} knows {source.params.num_classes} classes, the data has {num_classes}: begun afresh "
    return network, preprocess, note + ", ".join(_heads(fresh))


def backbone_network(
    model: str, backbone: Path, num_classes: int, seed: int
) -> Tuple[paddle.nn.Layer, Preprocess, str]:
    """A network with random weights but for its backbone.

    Args:
        backbone: any file that `load_backbone` knows; a checkpoint of this project also says how wide the network is,
            in all layers where it is pruned.

    Returns:
        the network, how images become its input, and what was loaded and what begun afresh.

    Raises:
        WeightsError: nothing of the file fits.
    """
    if kind_of(backbone) == CHECKPOINT:
        source = read_checkpoint(backbone)
        network = fresh_network(model, num_classes, source.params.width, seed)
        if source.model == model:  # a pruned one keeps its channels
            _make_as_wide_as(network, source.tensors)
            check_channels(network, str(backbone))
    else:
        network = fresh_network(model, num_classes, 1.0, seed)
    loaded = load_backbone(network, backbone)
    return network, loaded.preprocess, f"backbone from {backbone}: {loaded.note()}"


def _make_as_wide_as(network: paddle.nn.Layer, source: Mapping[str, np.ndarray]) -> None:
    """Take the channels of a pruned source's tensors over, but for the heads' outputs, which are the classes'."""
    tensors = dict(source)
    heads = [(name, layer) for name, layer in network.named_sublayers() if isinstance(layer, HeadConv)]
    for name, layer in heads:
        weight = f"{name}.conv.weight"
        if weight in tensors:
            tensors[weight] = np.zeros((layer.conv.weight.shape[0], *tensors[weight].shape[1:]), np.float32)
    narrow_to(network, tensors)
    for layer in network.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            _set_to_identity(layer)
    for _, layer in heads:
        _expect_few_objects(layer, 5 + network.params.num_classes)


def _set_to_identity(layer: paddle.nn.BatchNorm2D) -> None:
    """As a fresh one is; after narrowing nothing is known of its values, and a variance may be below 0."""
    for tensor, value in ((layer.weight, 1.0), (layer.bias, 0.0), (layer._mean, 0.0), (layer._variance, 1.0)):
        tensor.set_value(paddle.full_like(tensor, value))


def _expect_few_objects(head: HeadConv, per_anchor: int) -> None:
    bias = head.conv.bias.numpy()
    bias[4::per_anchor] = -math.log((1 - OBJECT_PRIOR) / OBJECT_PRIOR)
    head.conv.bias.set_value(bias)


def _heads(names: List[str]) -> List[str]:
    return sorted({name.split(".")[0] for name in names})
