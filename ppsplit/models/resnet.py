"""ResNet and ResNeXt.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2015, table 1; bottlenecks halve in their 3x3
convolution, as all published weights want it. Xie and others, "Aggregated Residual Transformations", 2016, table 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterator, NamedTuple, Tuple

from ppsplit.errors import ConfigError
from ppsplit.models.blocks import scaled
from ppsplit.models.classifier import (
    Classifier,
    ClassifierParams,
    ConvLinear,
    ConvRelu,
    classifier_family,
    conv_and_norm,
)
from ppsplit.paddle_first import paddle


class Architecture(NamedTuple):
    """One of the published networks.

    Attributes:
        blocks: of stage1 .. stage4.
        expansion: a stage's outputs over its inner channels; 1 for blocks of two 3x3 convolutions, else bottlenecks.
        groups: of the 3x3 convolutions.
        group_width: channels of a group in stage1; doubles with every stage.
    """

    blocks: Tuple[int, int, int, int]
    expansion: int
    groups: int = 1
    group_width: int = 64


ARCHITECTURES: Dict[str, Architecture] = {
    "resnet18": Architecture((2, 2, 2, 2), 1),
    "resnet50": Architecture((3, 4, 6, 3), 4),
    "resnext50_32x4d": Architecture((3, 4, 6, 3), 4, groups=32, group_width=4),
}


@dataclass(frozen=True)
class ResNetParams(ClassifierParams):
    """What can be chosen.

    Attributes:
        arch: of `ARCHITECTURES`.

    Raises:
        ConfigError: no such architecture.
    """

    arch: str = "resnet50"

    def __post_init__(self) -> None:
        if self.arch not in ARCHITECTURES:
            raise ConfigError(f"arch must be one of {', '.join(ARCHITECTURES)}, not {self.arch!r}")


class Basic(paddle.nn.Layer):
    """relu(conv3x3(conv3x3(x)) + x), the first with ReLU; x through a 1x1 convolution where its shape changes."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvRelu(in_channels, channels, stride=stride)
        self.conv2 = ConvLinear(channels, channels)
        self.shortcut = _shortcut(in_channels, channels, stride)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return paddle.nn.functional.relu(self.conv2(self.conv1(x)) + self.shortcut(x))


class Bottleneck(paddle.nn.Layer):
    """relu(conv1x1(conv3x3(conv1x1(x))) + x), the 3x3 in groups where the network has them."""

    def __init__(self, in_channels: int, inner: int, out_channels: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1 = ConvRelu(in_channels, inner, kernel=1)
        self.conv2 = ConvRelu(inner, inner, stride=stride, groups=groups)
        self.conv3 = ConvLinear(inner, out_channels, kernel=1)
        self.shortcut = _shortcut(in_channels, out_channels, stride)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return paddle.nn.functional.relu(self.conv3(self.conv2(self.conv1(x))) + self.shortcut(x))


def _shortcut(in_channels: int, out_channels: int, stride: int) -> paddle.nn.Layer:
    if in_channels == out_channels and stride == 1:
        return paddle.nn.Identity()
    return ConvLinear(in_channels, out_channels, kernel=1, stride=stride)


class ResNet(Classifier):
    """A stem and four stages; every stage but the first halves H and W."""

    def __init__(self, params: ResNetParams = ResNetParams()) -> None:
        super().__init__(params)
        self.model_name = params.arch
        arch = ARCHITECTURES[params.arch]
        channels = [scaled(64 * arch.expansion << i, params.width) for i in range(4)]

        self.stem = ConvRelu(3, scaled(64, params.width), kernel=7, stride=2)
        self.stem_pool = paddle.nn.MaxPool2D(3, stride=2, padding=1)
        self.stage1 = self._stage(0, scaled(64, params.width), channels[0])
        self.stage2 = self._stage(1, channels[0], channels[1])
        self.stage3 = self._stage(2, channels[1], channels[2])
        self.stage4 = self._stage(3, channels[2], channels[3])
        self._end(channels[3])

    def _stage(self, index: int, in_channels: int, channels: int) -> paddle.nn.Sequential:
        arch, width = ARCHITECTURES[self.params.arch], self.params.width
        inner = arch.groups * max(1, round((arch.group_width << index) * width))
        named = []
        for block in range(arch.blocks[index]):
            inputs, stride = (channels, 1) if block else (in_channels, 2 if index else 1)
            if arch.expansion == 1:
                named.append((f"block{block + 1}", Basic(inputs, channels, stride)))
            else:
                named.append((f"block{block + 1}", Bottleneck(inputs, inner, channels, stride, arch.groups)))
        return paddle.nn.Sequential(*named)

    def features(self, image: paddle.Tensor) -> paddle.Tensor:
        x = self.stem_pool(self.stem(image))
        x = self.stage1(x)
        x = self.stage2(x)
        x = self.stage3(x)
        return self.stage4(x)

    def foreign_layers(self) -> Dict[str, str]:
        names = {**conv_and_norm("conv1", "bn1", "stem"), "fc": "head"}
        for theirs, ours in self._blocks():
            for number in (1, 2, 3):
                names.update(conv_and_norm(f"{theirs}.conv{number}", f"{theirs}.bn{number}", f"{ours}.conv{number}"))
            names.update(conv_and_norm(f"{theirs}.downsample.0", f"{theirs}.downsample.1", f"{ours}.shortcut"))
        return names

    def _blocks(self) -> Iterator[Tuple[str, str]]:
        for stage, count in enumerate(ARCHITECTURES[self.params.arch].blocks, start=1):
            for block in range(count):
                yield f"layer{stage}.{block}", f"stage{stage}.block{block + 1}"


RESNETS = tuple(
    classifier_family(arch, ResNet, ResNetParams(arch=arch), "stage3", ("stage1", "stage2", "stage3", "stage4", "pool"))
    for arch in ARCHITECTURES
)
