"""The head of YOLOv8 and YOLO11: boxes and classes at three strides, and for segmentation what masks are made of."""

from __future__ import annotations

from typing import Callable, List, Sequence

from ppsplit.models.yolo_blocks import ConvSilu
from ppsplit.models.yolo_params import BINS, YoloParams
from ppsplit.paddle_first import paddle

# in_channels, middle, out_channels -> layers
Branch = Callable[[int, int, int], paddle.nn.Layer]


def plain_branch(in_channels: int, middle: int, out_channels: int) -> paddle.nn.Layer:
    """Two 3x3 convolutions and a 1x1 with bias."""
    return paddle.nn.Sequential(
        ConvSilu(in_channels, middle), ConvSilu(middle, middle), paddle.nn.Conv2D(middle, out_channels, 1)
    )


def depthwise_branch(in_channels: int, middle: int, out_channels: int) -> paddle.nn.Layer:
    """The same with every 3x3 depthwise, followed by a 1x1."""
    return paddle.nn.Sequential(
        _separable(in_channels, middle), _separable(middle, middle), paddle.nn.Conv2D(middle, out_channels, 1)
    )


def _separable(in_channels: int, out_channels: int) -> paddle.nn.Layer:
    return paddle.nn.Sequential(
        ConvSilu(in_channels, in_channels, groups=in_channels), ConvSilu(in_channels, out_channels, kernel=1)
    )


class Prototypes(paddle.nn.Layer):
    """The maps that masks are sums of, at half the stride of what goes in (Bolya et al., 2019, section 3.1)."""

    def __init__(self, in_channels: int, middle: int, out_channels: int) -> None:
        super().__init__()
        self.cv1 = ConvSilu(in_channels, middle)
        self.upsample = paddle.nn.Conv2DTranspose(middle, middle, 2, stride=2)
        self.cv2 = ConvSilu(middle, middle)
        self.cv3 = ConvSilu(middle, out_channels, kernel=1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.cv3(self.cv2(self.upsample(self.cv1(x))))


class YoloHead(paddle.nn.Layer):
    """Branches box8, class8 (and mask8), box16, ... by stride; `prototypes` where masks are wanted.

    Args:
        in_channels: of the features at each of `params.strides`.
        class_branch: `plain_branch` or `depthwise_branch`.
    """

    def __init__(self, params: YoloParams, in_channels: Sequence[int], class_branch: Branch) -> None:
        super().__init__()
        finest = in_channels[0]
        box_middle = max(16, finest // 4, 4 * BINS)
        class_middle = max(finest, min(params.num_classes, 100))
        mask_middle = max(finest // 4, params.mask_channels)
        self.strides, self.segments = params.strides, params.mask_channels > 0
        for stride, channels in zip(params.strides, in_channels):
            self.add_sublayer(f"box{stride}", plain_branch(channels, box_middle, 4 * BINS))
            self.add_sublayer(f"class{stride}", class_branch(channels, class_middle, params.num_classes))
            if self.segments:
                self.add_sublayer(f"mask{stride}", plain_branch(channels, mask_middle, params.mask_channels))
        if self.segments:
            self.prototypes = Prototypes(finest, params.channels(256), params.mask_channels)

    def forward(self, features: Sequence[paddle.Tensor]) -> List[paddle.Tensor]:
        """Raw outputs.

        Args:
            features: float32 [N, channels, H/s, W/s] for each stride s.

        Returns:
            float32 [N, 4 * BINS + C + M, H/s, W/s] for each stride: along the channels, BINS logits of the distance to
            the left, top, right and bottom side, C class logits, M mask coefficients; then, where M is not 0, the
            prototypes float32 [N, M, H/4, W/4].
        """
        kinds = ("box", "class", "mask") if self.segments else ("box", "class")
        outputs = [
            paddle.concat([getattr(self, f"{kind}{stride}")(x) for kind in kinds], axis=1)
            for stride, x in zip(self.strides, features)
        ]
        return [*outputs, self.prototypes(features[0])] if self.segments else outputs
