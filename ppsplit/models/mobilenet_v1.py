"""MobileNet (Howard and others, "MobileNets", 2017, table 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict

from ppsplit.models.blocks import scaled
from ppsplit.models.classifier import Classifier, ClassifierParams, ConvRelu, classifier_family, conv_and_norm
from ppsplit.paddle_first import paddle

# Paddle's name to output channels and stride
BLOCKS = {
    "conv2_1": (64, 1),
    "conv2_2": (128, 2),
    "conv3_1": (128, 1),
    "conv3_2": (256, 2),
    "conv4_1": (256, 1),
    "conv4_2": (512, 2),
    **{f"conv5_{i}": (512, 1) for i in range(1, 6)},
    "conv5_6": (1024, 2),
    "conv6": (1024, 1),
}


@dataclass(frozen=True)
class MobileNetV1Params(ClassifierParams):
    """What can be chosen."""


class Separable(paddle.nn.Layer):
    """A 3x3 convolution of each channel by itself, then a 1x1 of all."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.depthwise = ConvRelu(in_channels, in_channels, stride=stride, groups=in_channels)
        self.pointwise = ConvRelu(in_channels, out_channels, kernel=1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.pointwise(self.depthwise(x))


class MobileNetV1(Classifier):
    """A stem and thirteen separable convolutions, `block1` to `block13`."""

    model_name = "mobilenet_v1"

    def __init__(self, params: MobileNetV1Params = MobileNetV1Params()) -> None:
        super().__init__(params)
        channels = scaled(32, params.width)
        self.stem = ConvRelu(3, channels, stride=2)
        for number, (full, stride) in enumerate(BLOCKS.values(), start=1):
            self.add_sublayer(f"block{number}", Separable(channels, scaled(full, params.width), stride))
            channels = scaled(full, params.width)
        self._end(channels)

    def features(self, image: paddle.Tensor) -> paddle.Tensor:
        x = self.stem(image)
        for number in range(1, len(BLOCKS) + 1):
            x = getattr(self, f"block{number}")(x)
        return x

    def foreign_layers(self) -> Dict[str, str]:
        names = {**conv_and_norm("conv1.0", "conv1.1", "stem"), "fc": "head"}
        for number, theirs in enumerate(BLOCKS, start=1):
            for kind in ("depthwise", "pointwise"):
                path = f"{theirs}._{kind}_conv"
                names.update(conv_and_norm(f"{path}.0", f"{path}.1", f"block{number}.{kind}"))
        return names


MOBILENET_V1 = classifier_family(
    MobileNetV1.model_name,
    MobileNetV1,
    MobileNetV1Params(),
    default_cut="block5",
    reference_cuts=("block1", "block3", "block5", "block11", "block13", "pool"),
)
