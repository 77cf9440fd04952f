"""Classifiers from files of PyTorch's or Paddle's: layers are renamed, and what a linear layer holds is turned.

The networks here say what their layers are called in published files (`foreign_layers`); the tensors in a layer are
called the same everywhere, but for the two that batch normalisation measures. Files by our own names go as they are.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict

import numpy as np

from ppsplit.errors import WeightsError
from ppsplit.models.assign import assign_tensors
from ppsplit.models.family import ModelFamily
from ppsplit.paddle_first import paddle
from ppsplit.zoo.weight_file import WeightFile

LEAVES = {"running_mean": "_mean", "running_var": "_variance"}
UNUSED_LEAF = "num_batches_tracked"
HEAD = "head"  # our name of the last layer, whose outputs are the classes
NARROWEST = 1 / 64  # a network that is only asked for its layers' names


def fill_from_torch(network: paddle.nn.Layer, file: WeightFile, origin: str) -> None:
    """Set every parameter from a `.pth`, whose linear layers hold [outputs, inputs].

    Raises:
        WeightsError: tensors are missing or left over, or do not fit; they are listed, and nothing was changed.
    """
    tensors = _renamed(network, file.arrays)
    weight = tensors.get(f"{HEAD}.weight")
    if weight is not None:
        tensors[f"{HEAD}.weight"] = weight.T
    assign_tensors(network, tensors, origin)


def fill_from_paddle(network: paddle.nn.Layer, file: WeightFile, origin: str) -> None:
    """Set every parameter from a `.pdparams`, whose linear layers hold [inputs, outputs]. Raises as above."""
    assign_tensors(network, _renamed(network, file.arrays), origin)


def params_of_file(family: ModelFamily, file: WeightFile, origin: str) -> Any:
    """The family's parameters with the number of classes that a file is of. Raises WeightsError."""
    network = family.build(dataclasses.replace(family.params, width=NARROWEST))
    biases = [array for name, array in _renamed(network, file.arrays).items() if name == f"{HEAD}.bias"]
    if not biases or biases[0].ndim != 1 or not len(biases[0]):
        theirs = next(name for name, ours in network.foreign_layers().items() if ours == HEAD)
        raise WeightsError(
            f"{origin} is no {family.name}: it has no {theirs}.bias with one number a class; give weights of that "
            "network, as torchvision or Paddle publish them"
        )
    return dataclasses.replace(family.params, num_classes=len(biases[0]))


def _renamed(network: paddle.nn.Layer, arrays: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
    layers = network.foreign_layers()
    tensors = {}
    for name, array in arrays.items():
        layer, _, leaf = name.rpartition(".")
        if leaf == UNUSED_LEAF or name.startswith(network.training_only):
            continue
        tensors[f"{layers.get(layer, layer)}.{LEAVES.get(leaf, leaf)}"] = array
    return tensors
