"""YOLOv3-SPP: YOLOv3 with spatial pyramid pooling in its first neck (darknet's yolov3-spp.cfg; the pooling is that of
Huang, Wang and others, "DC-SPP-YOLO", 2019, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

from ppsplit.image import Preprocess
from ppsplit.models.blocks import ConvBN, scaled
from ppsplit.models.darknet53 import DarkNet53
from ppsplit.models.family import ModelFamily
from ppsplit.models.yolov3 import YoloV3, YoloV3Params
from ppsplit.paddle_first import paddle


@dataclass(frozen=True)
class YoloV3SppParams(YoloV3Params):
    """What can be chosen, with the published network's values."""


class PyramidPool(paddle.nn.Layer):
    """x under maxima of 13x13, 9x9 and 5x5, one behind the other, x itself last: [N, C, H, W] to [N, 4C, H, W]."""

    def __init__(self) -> None:
        super().__init__()
        self.max5 = paddle.nn.MaxPool2D(5, stride=1, padding=2)
        self.max9 = paddle.nn.MaxPool2D(9, stride=1, padding=4)
        self.max13 = paddle.nn.MaxPool2D(13, stride=1, padding=6)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return paddle.concat([self.max13(x), self.max9(x), self.max5(x), x], axis=1)


class SppNeck(paddle.nn.Sequential):
    """Three convolutions, the pyramid, and three more, 1x1 and 3x3 in turn."""

    def __init__(self, in_channels: int, channels: int, middle: int) -> None:
        super().__init__(
            ("conv1", ConvBN(in_channels, channels, kernel=1)),
            ("conv2", ConvBN(channels, middle)),
            ("conv3", ConvBN(middle, channels, kernel=1)),
            ("pyramid", PyramidPool()),
            ("conv4", ConvBN(4 * channels, channels, kernel=1)),
            ("conv5", ConvBN(channels, middle)),
            ("conv6", ConvBN(middle, channels, kernel=1)),
        )


class YoloV3Spp(YoloV3):
    """YOLOv3 with another first neck; built in darknet's order of layers, too."""

    model_name = "yolov3_spp"
    # the sections of yolov3-spp.cfg
    darknet_plan = (
        DarkNet53.backbone_plan
        + ("conv",) * 3
        + ("pool5/1", "route -2", "pool9/1", "route -4", "pool13/1", "route -1 -3 -5 -6")
        + ("conv",) * 5
        + ("yolo", "route -4", "conv", "upsample", "route -1 61")
        + ("conv",) * 7
        + ("yolo", "route -4", "conv", "upsample", "route -1 36")
        + ("conv",) * 7
        + ("yolo",)
    )

    def first_neck(self) -> paddle.nn.Layer:
        c512, c1024 = (scaled(512 << i, self.params.width) for i in range(2))
        return SppNeck(c1024, c512, c1024)


YOLOV3_SPP = ModelFamily(
    name=YoloV3Spp.model_name,
    build=YoloV3Spp,
    params=YoloV3SppParams(),
    preprocess=Preprocess(input_hw=(416, 416)),
    default_cut="stage3.block8",
    reference_cuts=("stage2.block2", "stage3.block8", "stage4.block8", "stage5.block4", "neck32"),
    trainable=True,
)
