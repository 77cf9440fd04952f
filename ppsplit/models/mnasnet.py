"""MNASNet-B1 at depth multiplier 1.0 (Tan and others, "MnasNet", 2018, figure 7a), as torchvision publishes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict

from ppsplit.models.blocks import scaled
from ppsplit.models.classifier import (
    Classifier,
    ClassifierParams,
    ConvLinear,
    ConvRelu,
    classifier_family,
    conv_and_norm,
)
from ppsplit.models.inverted_residual import Convs, InvertedResidual, StageParams, add_stages, through_stages
from ppsplit.paddle_first import paddle

STAGES = (
    StageParams(expand=3, channels=24, blocks=3, stride=2),
    StageParams(expand=3, channels=40, blocks=3, stride=2, kernel=5),
    StageParams(expand=6, channels=80, blocks=3, stride=2, kernel=5),
    StageParams(expand=6, channels=96, blocks=2, stride=1),
    StageParams(expand=6, channels=192, blocks=4, stride=2, kernel=5),
    StageParams(expand=6, channels=320, blocks=1, stride=1),
)
CONVS = Convs(ConvRelu, ConvLinear)


@dataclass(frozen=True)
class MnasNetParams(ClassifierParams):
    """What can be chosen."""


class MnasNet(Classifier):
    """A stem, a separable convolution, six stages of inverted residuals, and a 1x1 convolution, `last`."""

    model_name = "mnasnet1_0"

    def __init__(self, params: MnasNetParams = MnasNetParams()) -> None:
        super().__init__(params)
        width, channels = params.width, scaled(16, params.width)
        self.stem = ConvRelu(3, scaled(32, width), stride=2)
        self.separable = InvertedResidual(scaled(32, width), channels, 1, expand=1, kernel=3, convs=CONVS)
        channels = add_stages(self, channels, STAGES, width, CONVS)
        self.last = ConvRelu(channels, scaled(1280, width), kernel=1)
        self._end(scaled(1280, width))

    def features(self, image: paddle.Tensor) -> paddle.Tensor:
        return self.last(through_stages(self, self.separable(self.stem(image)), len(STAGES)))

    def foreign_layers(self) -> Dict[str, str]:
        names = conv_and_norm("layers.0", "layers.1", "stem")
        names.update(conv_and_norm("layers.3", "layers.4", "separable.depthwise"))
        names.update(conv_and_norm("layers.6", "layers.7", "separable.project"))
        for index, row in enumerate(STAGES):
            for block in range(row.blocks):
                theirs, ours = f"layers.{8 + index}.{block}.layers", f"stage{index + 1}.block{block + 1}"
                for at, kind in ((0, "expand"), (3, "depthwise"), (6, "project")):
                    names.update(conv_and_norm(f"{theirs}.{at}", f"{theirs}.{at + 1}", f"{ours}.{kind}"))
        return {**names, **conv_and_norm("layers.14", "layers.15", "last"), "classifier.1": "head"}


MNASNET = classifier_family(
    MnasNet.model_name,
    MnasNet,
    MnasNetParams(),
    default_cut="stage2",
    reference_cuts=("separable", "stage1", "stage2", "stage4", "stage6", "pool"),
)
