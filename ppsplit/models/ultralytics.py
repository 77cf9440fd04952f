"""Ultralytics' checkpoints into YOLOv8 and YOLO11: names map by structure, shapes say which scale a file is of."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Callable, Dict, Optional, Tuple

import numpy as np

from ppsplit.errors import WeightsError
from ppsplit.image import Preprocess
from ppsplit.models.assign import assign_tensors
from ppsplit.models.family import ModelFamily
from ppsplit.models.foreign_layers import LEAVES, UNUSED_LEAF
from ppsplit.models.yolo_blocks import ConvSilu
from ppsplit.models.yolo_params import BINS, YoloParams
from ppsplit.paddle_first import paddle
from ppsplit.zoo.weight_file import WeightFile

# theirs in front of ours
BRANCHES = {"cv2": "box", "cv3": "class", "cv4": "mask"}
LETTERBOX = Preprocess(input_hw=(640, 640), pad_pixel=114)


def yolo_families(
    network: Callable[..., paddle.nn.Layer], params: YoloParams, default_cut: str, reference_cuts: Tuple[str, ...]
) -> Tuple[ModelFamily, ...]:
    """A family for each scale, and one named without a scale that takes the weights' own."""

    def family(scale: str) -> ModelFamily:
        scaled = dataclasses.replace(params, scale=scale) if scale else params
        return ModelFamily(
            name=scaled.model_name
            if scale
            else params.model_name.replace(f"{params.series}{params.scale}", params.series),
            build=network,
            params=scaled,
            preprocess=LETTERBOX,
            default_cut=default_cut,
            reference_cuts=reference_cuts,
            fill_from_torch=fill_network,
            params_of_file=params_of_file,
        )

    return tuple(family(scale) for scale in ("", *params.scales))


def params_of_file(family: ModelFamily, file: WeightFile, origin: str) -> YoloParams:
    """The parameters of the network a file is of, read off its shapes.

    Raises:
        WeightsError: it is of another family, or of another scale than the family's name says.
    """
    head = _head(family.build)
    shapes = {name: array.shape for name, array in file.arrays.items()}
    stem = shapes.get("model.0.conv.weight", ())
    classes = _channels(shapes, f"model.{head}.cv3.0.2.weight")
    if len(stem) != 4 or classes is None:
        raise WeightsError(
            f"{origin} is no {family.name}: it has no stem model.0.conv.weight or no class branch "
            f"model.{head}.cv3.0.2.weight; give a checkpoint of that network as Ultralytics saves it"
        )
    masks = _channels(shapes, f"model.{head}.cv4.0.2.weight") or 0
    repeats = len({name.split(".")[3] for name in shapes if name.startswith("model.2.m.")})
    found = dataclasses.replace(family.params, num_classes=classes, mask_channels=masks)
    fitting = [
        params
        for params in (dataclasses.replace(found, scale=scale) for scale in found.scales)
        if params.channels(64) == stem[0] and params.repeats(params.first_repeats) == repeats
    ]
    if not fitting:
        raise WeightsError(
            f"{origin} is no {family.name} of a known scale: its first layer has {stem[0]} channels and layer 2 "
            f"{repeats} repetitions; known scales: {', '.join(found.scales)}"
        )
    actual, wanted = fitting[0].model_name, family.params.model_name
    if (masks > 0) != (family.params.mask_channels > 0) or (family.name == wanted and actual != wanted):
        raise WeightsError(f"{origin} is a {actual}, not a {family.name}; say --model {actual}")
    return fitting[0]


def fill_network(network: paddle.nn.Layer, file: WeightFile, origin: str) -> None:
    """Set every parameter of a network from a file.

    Raises:
        WeightsError: tensors are missing or left over, or do not fit; they are listed, and nothing was changed.
    """
    head = _head(network)
    arrays = dict(file.arrays)
    bins = arrays.pop(f"model.{head}.dfl.conv.weight", None)
    # the bins' values are 0, 1, 2, ... by definition; files that went through int8 have them rounded
    if bins is not None and not np.array_equal(np.rint(bins.ravel()), np.arange(BINS)):
        raise WeightsError(f"{origin} gives a side's {BINS} bins other values than 0..{BINS - 1}; not supported")
    tensors: Dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        if not name.endswith(f".{UNUSED_LEAF}"):
            tensors[our_name(network, name) or name] = array
    _mend_epsilons(network, file, tensors)
    assign_tensors(network, tensors, origin)
    names = file.settings.get("names")
    texts = tuple(names.values() if type(names) is dict else names or ())
    if len(texts) == network.params.num_classes and all(type(text) is str for text in texts):
        network.class_names = texts


def our_name(network: paddle.nn.Layer, name: str) -> Optional[str]:
    """Our name of a tensor of a checkpoint ("model.2.cv1.bn.running_mean"); None where there is no such layer."""
    match = re.fullmatch(r"model\.(\d+)\.(.+)", name)
    if match is None or int(match[1]) > _head(network) or not network.checkpoint_layers[int(match[1])]:
        return None
    layer, rest = network.checkpoint_layers[int(match[1])], match[2]
    if layer == "head":
        renamed = _head_name(rest, network.params.strides)
        if renamed is None:
            return None
        rest = renamed
    path, _, leaf = rest.rpartition(".")
    return ".".join(part for part in (layer, path, LEAVES.get(leaf, leaf)) if part)


def _head_name(rest: str, strides: Tuple[int, ...]) -> Optional[str]:
    if rest.startswith("proto."):
        return "prototypes." + rest[len("proto.") :]
    branch, level, inner = (*rest.split(".", 2), "", "")[:3]
    if branch not in BRANCHES or not level.isdigit() or int(level) >= len(strides):
        return None
    return f"{BRANCHES[branch]}{strides[int(level)]}.{inner}"


def _mend_epsilons(network: paddle.nn.Layer, file: WeightFile, tensors: Dict[str, np.ndarray]) -> None:
    """Let the scales carry the difference where a checkpoint's batch normalisation has another epsilon than ours."""
    for name, epsilon in file.settings.items():
        ours = (our_name(network, name) or "").rpartition(".")[0]
        scale, variance = tensors.get(f"{ours}.weight"), tensors.get(f"{ours}._variance")
        if not name.endswith(".bn.eps") or scale is None or variance is None or epsilon == ConvSilu.epsilon:
            continue
        wide = variance.astype(np.float64)
        tensors[f"{ours}.weight"] = (scale * np.sqrt((wide + ConvSilu.epsilon) / (wide + epsilon))).astype(np.float32)


def _head(network: Any) -> int:
    """The head's number among the checkpoint's layers: the last."""
    return len(network.checkpoint_layers) - 1


def _channels(shapes: Dict[str, Tuple[int, ...]], name: str) -> Optional[int]:
    """Output channels of a convolution, None where there is none of that name."""
    shape = shapes.get(name, ())
    return shape[0] if len(shape) == 4 else None
