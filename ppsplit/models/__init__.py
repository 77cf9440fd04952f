"""The networks this project can build, and what belongs to each: input, decoding, class names, cuts.

For the workshop only: importing this imports paddle. A family's own file says all that belongs to it; here is the one
table they stand in.
"""

from __future__ import annotations

import dataclasses
from typing import Dict, Tuple, Union

from ppsplit.bundle import DecodeSpec
from ppsplit.errors import ConfigError
from ppsplit.models.anchors import AnchorParams
from ppsplit.models.classifier import ClassifierParams
from ppsplit.models.efficientnet_lite import EFFICIENTNET_LITE0
from ppsplit.models.family import ModelFamily
from ppsplit.models.googlenet import GOOGLENET
from ppsplit.models.mnasnet import MNASNET
from ppsplit.models.mobilenet_v1 import MOBILENET_V1
from ppsplit.models.mobilenet_v2 import MOBILENET_V2
from ppsplit.models.resnet import RESNETS
from ppsplit.models.yolo11 import YOLO11
from ppsplit.models.yolo_params import YoloParams
from ppsplit.models.yolov3 import YOLOV3_DARKNET53
from ppsplit.models.yolov3_spp import YOLOV3_SPP
from ppsplit.models.yolov3_tiny import YOLOV3_TINY
from ppsplit.models.yolov8 import YOLOV8, YOLOV8_SEG
from ppsplit.paddle_first import paddle

Params = Union[AnchorParams, YoloParams, ClassifierParams]

DETECTORS = (YOLOV3_TINY, YOLOV3_DARKNET53, YOLOV3_SPP, *YOLO11, *YOLOV8, *YOLOV8_SEG)
CLASSIFIERS = (*RESNETS, MOBILENET_V1, MOBILENET_V2, MNASNET, GOOGLENET, EFFICIENTNET_LITE0)
MODELS: Dict[str, ModelFamily] = {family.name: family for family in (*DETECTORS, *CLASSIFIERS)}


def model_family(name: str) -> ModelFamily:
    """The family of that name. Raises ConfigError."""
    if name not in MODELS:
        raise ConfigError(f"there is no model {name!r}; choose one of: {', '.join(MODELS)}")
    return MODELS[name]


def decode_spec(params: Params) -> DecodeSpec:
    """How to decode the raw outputs of a network with these parameters."""
    return params.decode_spec()


def class_names_of(network: paddle.nn.Layer) -> Tuple[str, ...]:
    """The names of a network's classes: its own; where it has none, its family's if there are as many; else ()."""
    if network.class_names:
        return tuple(network.class_names)
    names = model_family(network.model_name).class_names
    return names if len(names) == network.params.num_classes else ()


def build_model(name: str, num_classes: int = 80, width: float = 1.0) -> paddle.nn.Layer:
    """A freshly initialised network.

    Args:
        name: of `MODELS`.
        num_classes: of the heads.
        width: multiplies all inner channels; 1 is the published network.

    Raises:
        ConfigError: no such name, or a number out of range.
    """
    family = model_family(name)
    if num_classes < 1 or not 0 < width <= 8:
        raise ConfigError(f"num_classes must be 1 or more and width in 0..8, not {num_classes} and {width}")
    return family.build(dataclasses.replace(family.params, num_classes=num_classes, width=width))
