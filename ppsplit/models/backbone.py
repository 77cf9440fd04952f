"""The backbone of a network from any weight file; the rest stays as it is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np

from ppsplit.errors import WeightsError
from ppsplit.image import Preprocess
from ppsplit.models import model_family
from ppsplit.models.assign import assign_tensors
from ppsplit.models.blocks import ConvBN, HeadConv
from ppsplit.models.checkpoint import read_checkpoint
from ppsplit.models.darknet_weights import load_darknet_start
from ppsplit.models.paddledetection import IMAGENET_MEAN, IMAGENET_STD, backbone_names, paddledetection_names
from ppsplit.models.weights import CHECKPOINT, DARKNET, kind_of
from ppsplit.paddle_first import paddle
from ppsplit.zoo.weight_file import read_weight_file

MOST_REPORTED = 4


@dataclass(frozen=True)
class LoadedBackbone:
    """What was loaded.

    Attributes:
        preprocess: how these weights want their colours; otherwise the family's.
        loaded, fresh: structural names of convolutions ("stage1.down"), filled from the file and left as they were.
    """

    preprocess: Preprocess
    loaded: Tuple[str, ...]
    fresh: Tuple[str, ...]

    def note(self) -> str:
        """Both in one line, by stage, in the network's order."""
        parts = []
        for what, names in (("loaded", self.loaded), ("begun afresh", self.fresh)):
            stages = [_stage(name) for name in names]
            total = [_stage(name) for name in (*self.loaded, *self.fresh)]
            said = [
                stage
                if stages.count(stage) == total.count(stage)
                # a stage of which the file has a part
                else f"{stage} ({stages.count(stage)} of {total.count(stage)} convolutions)"
                for stage in dict.fromkeys(stages)
            ]
            parts.append(f"{what} {', '.join(said) or 'nothing'}")
        return "; ".join(parts)


def load_backbone(network: paddle.nn.Layer, path: Path) -> LoadedBackbone:
    """Fill the stages in `network.backbone` from a file, whose kind is told by its first bytes.

    Known: all that `load_weights` knows, made for any number of classes; darknet's files that end early, which give
    all that they have; a .pdparams of DarkNet-53 alone. A convolution is taken whole or not at all.

    Raises:
        WeightsError: cannot be read, of no known kind, damaged, or nothing of it fits; nothing was changed.
        UnsafePickleError: a .pdparams asks for something to be executed.
    """
    path = Path(path)
    names = [name for name, layer in network.named_sublayers() if isinstance(layer, (ConvBN, HeadConv))]
    wanted = [name for name in names if _stage(name) in network.backbone]
    preprocess = model_family(network.model_name).preprocess
    kind = kind_of(path)
    if kind == DARKNET:
        loaded = names[: load_darknet_start(network, path, len(wanted))]
    elif kind == CHECKPOINT:
        checkpoint = read_checkpoint(path)
        preprocess = checkpoint.preprocess
        loaded = _take(network, wanted, checkpoint.tensors, path)
    else:
        tensors, is_foreign = _renamed(read_weight_file(path).arrays)
        if is_foreign:
            preprocess = dataclasses.replace(preprocess, mean=IMAGENET_MEAN, std=IMAGENET_STD)
        loaded = _take(network, wanted, tensors, path)
    return LoadedBackbone(preprocess, tuple(loaded), tuple(name for name in names if name not in set(loaded)))


def _stage(name: str) -> str:
    return name.partition(".")[0]


def _renamed(tensors: Dict[str, np.ndarray]) -> Tuple[Dict[str, np.ndarray], bool]:
    """Arrays by our names, and whether they had others."""
    names = {**paddledetection_names(), **backbone_names()}
    return {names.get(name, name): array for name, array in tensors.items()}, any(name in names for name in tensors)


def _take(network: paddle.nn.Layer, wanted: List[str], tensors: Dict[str, np.ndarray], path: Path) -> List[str]:
    """Fill those of the `wanted` convolutions of which every tensor is there in its shape; their names."""
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    loaded = []
    for layer in wanted:
        needed = [name for name in state if name.startswith(f"{layer}.")]
        if all(name in tensors and tensors[name].shape == state[name].shape for name in needed):
            loaded.append(layer)
            state.update({name: tensors[name] for name in needed})
    if not loaded:
        first = wanted[0]
        raise WeightsError(
            f"nothing of {path} fits the backbone of {network.model_name} of width {network.params.width:g}: expected "
            f"convolutions such as {first}.conv.weight {list(state[f'{first}.conv.weight'].shape)}, it has "
            f"{_described(tensors)}; give weights of this network or of its backbone"
        )
    assign_tensors(network, state, str(path))
    return loaded


def _described(tensors: Dict[str, np.ndarray]) -> str:
    shown = [f"{name} {list(array.shape)}" for name, array in list(tensors.items())[:MOST_REPORTED]]
    return ", ".join(shown) + (", ..." if len(tensors) > MOST_REPORTED else "") if shown else "no arrays"
