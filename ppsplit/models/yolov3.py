"""YOLOv3 on DarkNet-53 (Redmon and Farhadi, "YOLOv3: An Incremental Improvement", 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Tuple

from ppsplit.image import Preprocess
from ppsplit.models.anchors import AnchorParams
from ppsplit.models.blocks import Concat, ConvBN, Double, HeadConv, scaled
from ppsplit.models.darknet53 import DarkNet53
from ppsplit.models.family import ModelFamily
from ppsplit.paddle_first import paddle


@dataclass(frozen=True)
class YoloV3Params(AnchorParams):
    """What can be chosen, with the published network's values."""

    anchors: Tuple[Tuple[float, float], ...] = (
        *((10, 13), (16, 30), (33, 23)),
        *((30, 61), (62, 45), (59, 119)),
        *((116, 90), (156, 198), (373, 326)),
    )
    masks: Tuple[Tuple[int, ...], ...] = ((6, 7, 8), (3, 4, 5), (0, 1, 2))
    strides: Tuple[int, ...] = (32, 16, 8)


class Neck(paddle.nn.Sequential):
    """Five convolutions, 1x1 and 3x3 in turn, from `in_channels` to `channels`."""

    def __init__(self, in_channels: int, channels: int, middle: int) -> None:
        super().__init__(
            ("conv1", ConvBN(in_channels, channels, kernel=1)),
            ("conv2", ConvBN(channels, middle)),
            ("conv3", ConvBN(middle, channels, kernel=1)),
            ("conv4", ConvBN(channels, middle)),
            ("conv5", ConvBN(middle, channels, kernel=1)),
        )


class YoloV3(DarkNet53):
    """DarkNet-53 and three heads; each finer one also sees the coarser one's features, doubled in size.

    Built in darknet's order of layers, which the weight loader relies on.
    """

    model_name = "yolov3_darknet53"
    class_names: Tuple[str, ...] = ()  # set by who knows them, one a class; see `class_names_of`
    # the sections of yolov3.cfg; what its convolutions look like is read off the layers
    darknet_plan = (
        DarkNet53.backbone_plan
        + ("conv",) * 7
        + ("yolo", "route -4", "conv", "upsample", "route -1 61")
        + ("conv",) * 7
        + ("yolo", "route -4", "conv", "upsample", "route -1 36")
        + ("conv",) * 7
        + ("yolo",)
    )

    def __init__(self, params: YoloV3Params = YoloV3Params()) -> None:
        super().__init__(params.width)
        self.params = params
        c128, c256, c512, c1024 = (scaled(128 << i, params.width) for i in range(4))
        heads = params.output_channels

        self.neck32 = self.first_neck()
        self.head32_conv = ConvBN(c512, c1024)
        self.head32 = HeadConv(c1024, heads[0])

        self.lateral16 = ConvBN(c512, c256, kernel=1)
        self.upsample16 = Double()
        self.join16 = Concat()
        self.neck16 = Neck(c256 + c512, c256, c512)
        self.head16_conv = ConvBN(c256, c512)
        self.head16 = HeadConv(c512, heads[1])

        self.lateral8 = ConvBN(c256, c128, kernel=1)
        self.upsample8 = Double()
        self.join8 = Concat()
        self.neck8 = Neck(c128 + c256, c128, c256)
        self.head8_conv = ConvBN(c128, c256)
        self.head8 = HeadConv(c256, heads[2])

    def first_neck(self) -> paddle.nn.Layer:
        """What follows the backbone, up to the coarsest head; another in networks that derive from this one."""
        c512, c1024 = (scaled(512 << i, self.params.width) for i in range(2))
        return Neck(c1024, c512, c1024)

    def forward(self, image: paddle.Tensor) -> List[paddle.Tensor]:
        """The raw heads.

        Args:
            image: float32 [N, 3, H, W]; H and W multiples of 32.

        Returns:
            float32 [N, A * (5 + C), H/s, W/s] for s = 32, 16, 8.
        """
        stride8, stride16, stride32 = self.features(image)

        coarse = self.neck32(stride32)
        large = self.head32(self.head32_conv(coarse))

        middle = self.neck16(self.join16(self.upsample16(self.lateral16(coarse)), stride16))
        medium = self.head16(self.head16_conv(middle))

        fine = self.neck8(self.join8(self.upsample8(self.lateral8(middle)), stride8))
        small = self.head8(self.head8_conv(fine))
        return [large, medium, small]


YOLOV3_DARKNET53 = ModelFamily(
    name=YoloV3.model_name,
    build=YoloV3,
    params=YoloV3Params(),
    preprocess=Preprocess(input_hw=(416, 416)),
    default_cut="stage3.block8",
    reference_cuts=("stage2.block2", "stage3.block8", "stage4.block8", "stage5.block4"),
    trainable=True,
)
