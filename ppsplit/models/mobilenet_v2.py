"""MobileNetV2 (Sandler and others, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, table 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict

from ppsplit.models.blocks import scaled
from ppsplit.models.classifier import (
    Classifier,
    ClassifierParams,
    ConvLinear,
    ConvRelu6,
    classifier_family,
    conv_and_norm,
)
from ppsplit.models.inverted_residual import Convs, StageParams, add_stages, through_stages
from ppsplit.paddle_first import paddle

STAGES = (
    StageParams(expand=1, channels=16, blocks=1, stride=1),
    StageParams(expand=6, channels=24, blocks=2, stride=2),
    StageParams(expand=6, channels=32, blocks=3, stride=2),
    StageParams(expand=6, channels=64, blocks=4, stride=2),
    StageParams(expand=6, channels=96, blocks=3, stride=1),
    StageParams(expand=6, channels=160, blocks=3, stride=2),
    StageParams(expand=6, channels=320, blocks=1, stride=1),
)
CONVS = Convs(ConvRelu6, ConvLinear)


@dataclass(frozen=True)
class MobileNetV2Params(ClassifierParams):
    """What can be chosen."""


class MobileNetV2(Classifier):
    """A stem, seven stages of inverted residuals, and a 1x1 convolution, `last`."""

    model_name = "mobilenet_v2"

    def __init__(self, params: MobileNetV2Params = MobileNetV2Params()) -> None:
        super().__init__(params)
        width, channels = params.width, scaled(32, params.width)
        self.stem = ConvRelu6(3, channels, stride=2)
        channels = add_stages(self, channels, STAGES, width, CONVS)
        self.last = ConvRelu6(channels, scaled(1280, width), kernel=1)
        self._end(scaled(1280, width))

    def features(self, image: paddle.Tensor) -> paddle.Tensor:
        return self.last(through_stages(self, self.stem(image), len(STAGES)))

    def foreign_layers(self) -> Dict[str, str]:
        names = conv_and_norm("features.0.0", "features.0.1", "stem")
        number = 0
        for index, row in enumerate(STAGES, start=1):
            for block in range(1, row.blocks + 1):
                number += 1
                theirs, ours = f"features.{number}.conv", f"stage{index}.block{block}"
                at = 0
                if row.expand != 1:
                    names.update(conv_and_norm(f"{theirs}.0.0", f"{theirs}.0.1", f"{ours}.expand"))
                    at = 1
                names.update(conv_and_norm(f"{theirs}.{at}.0", f"{theirs}.{at}.1", f"{ours}.depthwise"))
                names.update(conv_and_norm(f"{theirs}.{at + 1}", f"{theirs}.{at + 2}", f"{ours}.project"))
        last = f"features.{number + 1}"
        return {**names, **conv_and_norm(f"{last}.0", f"{last}.1", "last"), "classifier.1": "head"}


MOBILENET_V2 = classifier_family(
    MobileNetV2.model_name,
    MobileNetV2,
    MobileNetV2Params(),
    default_cut="stage3",
    reference_cuts=("stage1", "stage2", "stage3", "stage5", "stage7", "pool"),
)
