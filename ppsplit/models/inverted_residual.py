"""Inverted residuals in stages (Sandler and others, "MobileNetV2", 2018, table 1), which three networks are made of."""

from __future__ import annotations

from typing import NamedTuple, Sequence, Tuple, Type

from ppsplit.models.blocks import ConvBN, scaled
from ppsplit.paddle_first import paddle


class StageParams(NamedTuple):
    """A row of such a paper's table.

    Attributes:
        expand: inner channels over a block's inputs.
        channels: outputs, at width 1.
        blocks: how many; only the first has the stride.
        stride: 1 or 2.
        kernel: of the depthwise convolutions.
    """

    expand: int
    channels: int
    blocks: int
    stride: int
    kernel: int = 3


class Convs(NamedTuple):
    """The convolutions a network's blocks are of: with its activation, and without any."""

    active: Type[ConvBN]
    linear: Type[ConvBN]


class InvertedResidual(paddle.nn.Layer):
    """Expand by 1x1, convolve each channel by itself, project by 1x1; added to the input where the shape stays.

    Without expansion there is no 1x1 in front.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, expand: int, kernel: int, convs: Convs
    ) -> None:
        super().__init__()
        inner = in_channels * expand
        self.has_expand, self.has_skip = expand != 1, stride == 1 and in_channels == out_channels
        if self.has_expand:
            self.expand = convs.active(in_channels, inner, kernel=1)
        self.depthwise = convs.active(inner, inner, kernel=kernel, stride=stride, groups=inner)
        self.project = convs.linear(inner, out_channels, kernel=1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        inner = self.depthwise(self.expand(x) if self.has_expand else x)
        return x + self.project(inner) if self.has_skip else self.project(inner)


def stage(in_channels: int, row: StageParams, width: float, convs: Convs) -> Tuple[paddle.nn.Sequential, int]:
    """A stage with `block1`, `block2`, ..., and its output channels."""
    channels, named = scaled(row.channels, width), []
    for block in range(row.blocks):
        inputs, stride = (channels, 1) if block else (in_channels, row.stride)
        named.append((f"block{block + 1}", InvertedResidual(inputs, channels, stride, row.expand, row.kernel, convs)))
    return paddle.nn.Sequential(*named), channels


def add_stages(
    network: paddle.nn.Layer, in_channels: int, rows: Sequence[StageParams], width: float, convs: Convs
) -> int:
    """Give a network the stages `stage1`, `stage2`, ... of a table; their output channels."""
    channels = in_channels
    for number, row in enumerate(rows, start=1):
        layers, channels = stage(channels, row, width, convs)
        network.add_sublayer(f"stage{number}", layers)
    return channels


def through_stages(network: paddle.nn.Layer, x: paddle.Tensor, count: int) -> paddle.Tensor:
    """What the first `count` stages make of x."""
    for number in range(1, count + 1):
        x = getattr(network, f"stage{number}")(x)
    return x
