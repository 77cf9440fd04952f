"""The blocks both YOLOv3 networks are made of, bottom-up, and the convolution that every network here has."""

from __future__ import annotations

from typing import List, Union

from ppsplit.paddle_first import paddle

LEAKY_SLOPE = 0.1  # darknet's "leaky"
BATCH_NORM_EPSILON = 1e-5  # Paddle's own; loaders bring weights from other programs to it


def scaled(channels: int, width: float) -> int:
    """`channels` of the full network in one of `width` times its width; never less than 4."""
    return max(4, round(channels * width))


class ConvBN(paddle.nn.Layer):
    """Convolution, batch normalisation, leaky ReLU. Padding keeps H and W at stride 1, halves them at 2.

    Networks with another activation derive from it and override `activate`.

    Attributes:
        conv: without bias, until `fold_batch_norm` gives it one.
        bn: nn.BatchNorm2D; nn.Identity once folded.
    """

    epsilon = BATCH_NORM_EPSILON

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = paddle.nn.Conv2D(
            in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias_attr=False
        )
        self.bn = paddle.nn.BatchNorm2D(out_channels, epsilon=self.epsilon)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.activate(self.bn(self.conv(x)))

    def activate(self, x: paddle.Tensor) -> paddle.Tensor:
        """What follows the normalisation."""
        return paddle.nn.functional.leaky_relu(x, LEAKY_SLOPE)


class HeadConv(paddle.nn.Layer):
    """1x1 convolution with bias and nothing after it: the raw head map [N, A * (5 + C), H, W].

    Along the channels, anchor after anchor: x, y, w, h, objectness, then C class logits.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = paddle.nn.Conv2D(in_channels, out_channels, 1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.conv(x)


class Residual(paddle.nn.Layer):
    """x + conv3x3(conv1x1(x)), the middle at half the channels; darknet's "shortcut"."""

    def __init__(self, channels: int, middle: int) -> None:
        super().__init__()
        self.reduce = ConvBN(channels, middle, kernel=1)
        self.expand = ConvBN(middle, channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x + self.expand(self.reduce(x))


class Halve(paddle.nn.MaxPool2D):
    """Max-pooling 2x2 at stride 2."""

    def __init__(self) -> None:
        super().__init__(kernel_size=2, stride=2)


class SlideMax(paddle.nn.MaxPool2D):
    """Max-pooling 2x2 at stride 1 that keeps H and W.

    The window hangs over the right and the bottom edge, where nothing is added: darknet puts -FLT_MAX
    there, Paddle's padding of a max-pool never wins either.
    """

    def __init__(self) -> None:
        super().__init__(kernel_size=2, stride=1, padding=[0, 1, 0, 1])


class Double(paddle.nn.Layer):
    """Nearest-neighbour upsampling, H and W times 2."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return paddle.nn.functional.interpolate(x, scale_factor=2, mode="nearest")


class Concat(paddle.nn.Layer):
    """[N, A, H, W] and [N, B, H, W] to [N, A + B, H, W]; a layer, so that a cut can be named after it."""

    def forward(self, a: paddle.Tensor, b: paddle.Tensor) -> paddle.Tensor:
        return paddle.concat([a, b], axis=1)


ConvLayer = Union[ConvBN, HeadConv]


def conv_layers(network: paddle.nn.Layer) -> List[ConvLayer]:
    """All ConvBN and HeadConv in the order they were built, which is darknet's order of layers."""
    return [layer for layer in network.sublayers() if isinstance(layer, (ConvBN, HeadConv))]
