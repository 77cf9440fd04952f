"""The blocks that YOLOv8 and YOLO11 are made of, bottom-up.

Inside a block the layers are called as in the published checkpoints (cv1, cv2, m, ...), so that names map by structure.
All keep H and W. Channels that a block splits or joins go along axis 1.
"""

from __future__ import annotations

from typing import List

from ppsplit.models.blocks import ConvBN
from ppsplit.paddle_first import paddle


class ConvSilu(ConvBN):
    """Convolution, batch normalisation, x * sigmoid(x)."""

    epsilon = 1e-3  # the published networks'

    def activate(self, x: paddle.Tensor) -> paddle.Tensor:
        return paddle.nn.functional.swish(x)  # the same as silu, and the one that oneDNN fuses with a convolution


class ConvLinear(ConvSilu):
    """Convolution and batch normalisation, nothing after them."""

    def activate(self, x: paddle.Tensor) -> paddle.Tensor:
        return x


class Bottleneck(paddle.nn.Layer):
    """x + conv3x3(conv3x3(x)), or without x where `shortcut` is off."""

    def __init__(self, channels: int, shortcut: bool, expansion: float) -> None:
        super().__init__()
        middle = int(channels * expansion)
        self.cv1 = ConvSilu(channels, middle)
        self.cv2 = ConvSilu(middle, channels)
        self.shortcut = shortcut

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C3k(paddle.nn.Layer):
    """Two ways at half the channels, one through two bottlenecks, joined."""

    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        middle = channels // 2
        self.cv1 = ConvSilu(channels, middle, kernel=1)
        self.cv2 = ConvSilu(channels, middle, kernel=1)
        self.cv3 = ConvSilu(2 * middle, channels, kernel=1)
        self.m = paddle.nn.Sequential(*[Bottleneck(middle, shortcut, expansion=1.0) for _ in range(2)])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.cv3(paddle.concat([self.m(self.cv1(x)), self.cv2(x)], axis=1))


class C2f(paddle.nn.Layer):
    """Split in two halves of `middle` channels; the second goes through the steps, and all that came by is joined."""

    def __init__(self, in_channels: int, out_channels: int, middle: int, steps: List[paddle.nn.Layer]) -> None:
        super().__init__()
        self.cv1 = ConvSilu(in_channels, 2 * middle, kernel=1)
        self.cv2 = ConvSilu((2 + len(steps)) * middle, out_channels, kernel=1)
        self.m = paddle.nn.LayerList(steps)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        parts = list(paddle.split(self.cv1(x), 2, axis=1))
        for step in self.m:
            parts.append(step(parts[-1]))
        return self.cv2(paddle.concat(parts, axis=1))


def c2f(in_channels: int, out_channels: int, repeats: int, shortcut: bool) -> C2f:
    """YOLOv8's C2f: bottlenecks at half of `out_channels`."""
    middle = out_channels // 2
    return C2f(in_channels, out_channels, middle, [Bottleneck(middle, shortcut, 1.0) for _ in range(repeats)])


def c3k2(in_channels: int, out_channels: int, repeats: int, nested: bool, expansion: float = 0.5) -> C2f:
    """YOLO11's C3k2: a C2f whose steps are C3k where `nested`, else narrower bottlenecks."""
    middle = int(out_channels * expansion)
    steps = [C3k(middle, shortcut=True) if nested else Bottleneck(middle, True, 0.5) for _ in range(repeats)]
    return C2f(in_channels, out_channels, middle, steps)


class SPPF(paddle.nn.Layer):
    """Spatial pyramid pooling: max-pools 5x5 one after the other see 5, 9 and 13 cells (He et al., 2014)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cv1 = ConvSilu(channels, channels // 2, kernel=1)
        self.cv2 = ConvSilu(channels // 2 * 4, channels, kernel=1)
        self.m = paddle.nn.MaxPool2D(5, stride=1, padding=2)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        parts = [self.cv1(x)]
        for _ in range(3):
            parts.append(self.m(parts[-1]))
        return self.cv2(paddle.concat(parts, axis=1))


class Attention(paddle.nn.Layer):
    """Self-attention over the cells (Vaswani et al., 2017, 3.2.1), keys half as wide as values; the place by a 3x3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(channels // 64, 1)
        self.value_width = channels // self.heads
        self.key_width = self.value_width // 2
        self.qkv = ConvLinear(channels, channels + 2 * self.key_width * self.heads, kernel=1)
        self.proj = ConvLinear(channels, channels, kernel=1)
        self.pe = ConvLinear(channels, channels, groups=channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        channels, height, width = x.shape[1:]
        widths = [self.key_width, self.key_width, self.value_width]
        # [N, heads, widths, cells]; 0 keeps the batch
        packed = paddle.reshape(self.qkv(x), [0, self.heads, sum(widths), height * width])
        query, key, value = paddle.split(packed, widths, axis=2)
        scores = paddle.matmul(query, key, transpose_x=True) * self.key_width**-0.5
        weights = paddle.nn.functional.softmax(scores, axis=-1)
        seen = paddle.reshape(paddle.matmul(value, weights, transpose_y=True), [0, channels, height, width])
        return self.proj(seen + self.pe(paddle.reshape(value, [0, channels, height, width])))


class PSABlock(paddle.nn.Layer):
    """Attention, then two 1x1 convolutions, each added to what went in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attn = Attention(channels)
        self.ffn = paddle.nn.Sequential(
            ConvSilu(channels, 2 * channels, kernel=1), ConvLinear(2 * channels, channels, kernel=1)
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = x + self.attn(x)
        return x + self.ffn(x)


class C2PSA(paddle.nn.Layer):
    """Split in two halves; the second goes through attention, and both are joined."""

    def __init__(self, channels: int, repeats: int) -> None:
        super().__init__()
        middle = channels // 2
        self.cv1 = ConvSilu(channels, 2 * middle, kernel=1)
        self.cv2 = ConvSilu(2 * middle, channels, kernel=1)
        self.m = paddle.nn.Sequential(*[PSABlock(middle) for _ in range(repeats)])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        left, right = paddle.split(self.cv1(x), 2, axis=1)
        return self.cv2(paddle.concat([left, self.m(right)], axis=1))
