"""GoogLeNet (Szegedy and others, "Going Deeper with Convolutions", 2014, table 1), as torchvision publishes it.

That is: with batch normalisation, and with 3x3 where the paper has 5x5. Paddle's own GoogLeNet is another network
(5x5, no batch normalisation), so its weights do not fit. The two classifiers that help training are not built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, NamedTuple

from ppsplit.image import Preprocess
from ppsplit.models.blocks import scaled
from ppsplit.models.classifier import Classifier, ClassifierParams, ConvRelu, classifier_family
from ppsplit.paddle_first import paddle


class NormRelu(ConvRelu):
    """Convolution, batch normalisation with TensorFlow's epsilon, ReLU."""

    epsilon = 1e-3


class Branches(NamedTuple):
    """Output channels of an inception's convolutions, a row of the paper's table."""

    one: int
    three_reduce: int
    three: int
    five_reduce: int
    five: int
    pooled: int


BRANCHES = {
    "3a": Branches(64, 96, 128, 16, 32, 32),
    "3b": Branches(128, 128, 192, 32, 96, 64),
    "4a": Branches(192, 96, 208, 16, 48, 64),
    "4b": Branches(160, 112, 224, 24, 64, 64),
    "4c": Branches(128, 128, 256, 24, 64, 64),
    "4d": Branches(112, 144, 288, 32, 64, 64),
    "4e": Branches(256, 160, 320, 32, 128, 128),
    "5a": Branches(256, 160, 320, 32, 128, 128),
    "5b": Branches(384, 192, 384, 48, 128, 128),
}
CONVOLUTIONS = {  # ours to torchvision's
    "one": "branch1",
    "three_reduce": "branch2.0",
    "three": "branch2.1",
    "five_reduce": "branch3.0",
    "five": "branch3.1",
    "pooled": "branch4.1",
}


@dataclass(frozen=True)
class GoogLeNetParams(ClassifierParams):
    """What can be chosen."""


class Inception(paddle.nn.Layer):
    """Four branches side by side, their channels one behind the other."""

    def __init__(self, in_channels: int, branches: Branches) -> None:
        super().__init__()
        self.channels = branches.one + branches.three + branches.five + branches.pooled
        self.one = NormRelu(in_channels, branches.one, kernel=1)
        self.three_reduce = NormRelu(in_channels, branches.three_reduce, kernel=1)
        self.three = NormRelu(branches.three_reduce, branches.three)
        self.five_reduce = NormRelu(in_channels, branches.five_reduce, kernel=1)
        self.five = NormRelu(branches.five_reduce, branches.five)
        self.pool = paddle.nn.MaxPool2D(3, stride=1, padding=1)
        self.pooled = NormRelu(in_channels, branches.pooled, kernel=1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        three, five = self.three(self.three_reduce(x)), self.five(self.five_reduce(x))
        return paddle.concat([self.one(x), three, five, self.pooled(self.pool(x))], axis=1)


class GoogLeNet(Classifier):
    """Three convolutions and nine inceptions, with max-pools between. The pools round H and W up."""

    model_name = "googlenet"
    training_only = ("aux1.", "aux2.")

    def __init__(self, params: GoogLeNetParams = GoogLeNetParams()) -> None:
        super().__init__(params)
        c64, c192 = scaled(64, params.width), scaled(192, params.width)
        self.conv1 = NormRelu(3, c64, kernel=7, stride=2)
        self.pool1 = paddle.nn.MaxPool2D(3, stride=2, ceil_mode=True)
        self.conv2 = NormRelu(c64, c64, kernel=1)
        self.conv3 = NormRelu(c64, c192)
        self.pool2 = paddle.nn.MaxPool2D(3, stride=2, ceil_mode=True)
        channels = c192
        for name, full in BRANCHES.items():
            inception = Inception(channels, Branches(*(scaled(c, params.width) for c in full)))
            self.add_sublayer(f"inception{name}", inception)
            channels = inception.channels
        self.pool3 = paddle.nn.MaxPool2D(3, stride=2, ceil_mode=True)
        self.pool4 = paddle.nn.MaxPool2D(2, stride=2, ceil_mode=True)
        self._end(channels)

    def features(self, image: paddle.Tensor) -> paddle.Tensor:
        x = self.pool1(self.conv1(image))
        x = self.pool2(self.conv3(self.conv2(x)))
        x = self.inception3b(self.inception3a(x))
        x = self.inception4a(self.pool3(x))
        x = self.inception4b(x)
        x = self.inception4c(x)
        x = self.inception4d(x)
        x = self.inception4e(x)
        x = self.inception5a(self.pool4(x))
        return self.inception5b(x)

    def foreign_layers(self) -> Dict[str, str]:
        # there, too, a convolution and its normalisation are one layer, with our names in it
        pairs = {f"conv{i}": f"conv{i}" for i in (1, 2, 3)}
        for name in BRANCHES:
            for ours, theirs in CONVOLUTIONS.items():
                pairs[f"inception{name}.{theirs}"] = f"inception{name}.{ours}"
        names = {f"{theirs}.{part}": f"{ours}.{part}" for theirs, ours in pairs.items() for part in ("conv", "bn")}
        return {**names, "fc": "head"}


GOOGLENET = classifier_family(
    GoogLeNet.model_name,
    GoogLeNet,
    GoogLeNetParams(),
    default_cut="inception4a",
    reference_cuts=("pool2", "inception3b", "inception4a", "inception4e", "inception5b", "pool"),
    # torchvision's network turns ImageNet's mean and deviation into these by itself
    preprocess=Preprocess((224, 224), resize="crop", mean=(0.5,) * 3, std=(0.5,) * 3, crop_share=0.875),
)
