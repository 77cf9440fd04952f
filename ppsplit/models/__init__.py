"""The networks this project can build, and what belongs to each: input, decoding, class names, cuts.

For the workshop only: importing this imports paddle.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Callable, Dict, Tuple, Union

from ppsplit.bundle import DecodeSpec
from ppsplit.errors import ConfigError
from ppsplit.image import Preprocess
from ppsplit.models.coco_names import COCO_NAMES
from ppsplit.models.yolov3 import YoloV3, YoloV3Params
from ppsplit.models.yolov3_tiny import YoloV3Tiny, YoloV3TinyParams
from ppsplit.paddle_first import paddle

Params = Union[YoloV3TinyParams, YoloV3Params]


@dataclass(frozen=True)
class ModelFamily:
    """A network and what belongs to it, as darknet's COCO weights want it.

    Attributes:
        name: the network's name.
        build: its parameters to a freshly initialised network.
        params: its default parameters.
        preprocess: how an image becomes its input. Weights of another source can want another one, which
            `load_weights` tells.
        decode: for the default parameters; `decode_spec(network.params)` for any other.
        class_names: COCO's.
        default_cut: where to cut when nothing is said; one tensor crosses there.
        reference_cuts: the cuts worth comparing, from the input on.
    """

    name: str
    build: Callable[..., paddle.nn.Layer]
    params: Params
    preprocess: Preprocess
    decode: DecodeSpec
    class_names: Tuple[str, ...]
    default_cut: str
    reference_cuts: Tuple[str, ...]


def decode_spec(params: Params) -> DecodeSpec:
    """How to decode the raw heads of a network with these parameters.

    Thresholds are for pictures; an evaluation passes its own. The NMS threshold is darknet's.
    """
    return DecodeSpec(
        "yolov3",
        {
            "num_classes": params.num_classes,
            "anchors": [list(anchor) for anchor in params.anchors],
            "masks": [list(mask) for mask in params.masks],
            "strides": list(params.strides),
            "score_threshold": 0.25,
            "nms_iou_threshold": 0.45,
            "max_detections": 100,
        },
    )


def _family(
    network: Callable[..., paddle.nn.Layer],
    name: str,
    params: Params,
    default_cut: str,
    reference_cuts: Tuple[str, ...],
) -> ModelFamily:
    return ModelFamily(
        name=name,
        build=network,
        params=params,
        preprocess=Preprocess(input_hw=(416, 416)),
        decode=decode_spec(params),
        class_names=COCO_NAMES,
        default_cut=default_cut,
        reference_cuts=reference_cuts,
    )


MODELS: Dict[str, ModelFamily] = {
    family.name: family
    for family in (
        _family(
            YoloV3Tiny,
            YoloV3Tiny.model_name,
            YoloV3TinyParams(),
            default_cut="pool4",
            reference_cuts=("pool2", "pool3", "pool4", "pool5", "conv7"),
        ),
        _family(
            YoloV3,
            YoloV3.model_name,
            YoloV3Params(),
            default_cut="stage3.block8",
            reference_cuts=("stage2.block2", "stage3.block8", "stage4.block8", "stage5.block4"),
        ),
    )
}


def model_family(name: str) -> ModelFamily:
    """The family of that name. Raises ConfigError."""
    if name not in MODELS:
        raise ConfigError(f"there is no model {name!r}; choose one of: {', '.join(MODELS)}")
    return MODELS[name]


def class_names_of(network: paddle.nn.Layer) -> Tuple[str, ...]:
    """The names of a network's classes: its own; where it has none, its family's if there are as many; else ()."""
    if network.class_names:
        return tuple(network.class_names)
    names = model_family(network.model_name).class_names
    return names if len(names) == network.params.num_classes else ()


def build_model(name: str, num_classes: int = 80, width: float = 1.0) -> paddle.nn.Layer:
    """A freshly initialised network.

    Args:
        name: "yolov3_tiny" or "yolov3_darknet53".
        num_classes: of the heads.
        width: multiplies all inner channels; 1 is the published network.

    Raises:
        ConfigError: no such name, or a number out of range.
    """
    family = model_family(name)
    if num_classes < 1 or not 0 < width <= 8:
        raise ConfigError(f"num_classes must be 1 or more and width in 0..8, not {num_classes} and {width}")
    return family.build(dataclasses.replace(family.params, num_classes=num_classes, width=width))
