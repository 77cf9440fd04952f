"""YOLOv3-tiny (Redmon and Farhadi, "YOLOv3: An Incremental Improvement", 2018, and its yolov3-tiny.cfg)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Tuple

from ppsplit.image import Preprocess
from ppsplit.models.anchors import AnchorParams
from ppsplit.models.blocks import Concat, ConvBN, Double, Halve, HeadConv, SlideMax, scaled
from ppsplit.models.family import ModelFamily
from ppsplit.paddle_first import paddle


@dataclass(frozen=True)
class YoloV3TinyParams(AnchorParams):
    """What can be chosen, with the published network's values.

    The published weights were trained with anchors 1, 2, 3 in the second head although yolov3-tiny.cfg says 0, 1, 2;
    with those AP falls by a third.
    """

    anchors: Tuple[Tuple[float, float], ...] = ((10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319))
    masks: Tuple[Tuple[int, ...], ...] = ((3, 4, 5), (1, 2, 3))
    strides: Tuple[int, ...] = (32, 16)


class YoloV3Tiny(paddle.nn.Layer):
    """Seven convolutions with six max-pools between them, and two heads.

    Built in darknet's order of layers, which the weight loader relies on.
    """

    model_name = "yolov3_tiny"
    class_names: Tuple[str, ...] = ()  # set by who knows them, one a class; see `class_names_of`
    backbone = tuple(f"conv{i}" for i in range(1, 8))
    # the sections of yolov3-tiny.cfg; what its convolutions look like is read off the layers above
    darknet_plan = (
        ("conv", "pool/2") * 5
        + ("conv", "pool/1", "conv")
        + ("conv", "conv", "conv", "yolo")
        + ("route -4", "conv", "upsample", "route -1 8")
        + ("conv", "conv", "yolo")
    )

    def __init__(self, params: YoloV3TinyParams = YoloV3TinyParams()) -> None:
        super().__init__()
        self.params = params
        c16, c32, c64, c128, c256, c512, c1024 = (scaled(16 << i, params.width) for i in range(7))
        head32, head16 = params.output_channels

        self.conv1 = ConvBN(3, c16)
        self.pool1 = Halve()
        self.conv2 = ConvBN(c16, c32)
        self.pool2 = Halve()
        self.conv3 = ConvBN(c32, c64)
        self.pool3 = Halve()
        self.conv4 = ConvBN(c64, c128)
        self.pool4 = Halve()
        self.conv5 = ConvBN(c128, c256)
        self.pool5 = Halve()
        self.conv6 = ConvBN(c256, c512)
        self.pool6 = SlideMax()
        self.conv7 = ConvBN(c512, c1024)

        self.neck = ConvBN(c1024, c256, kernel=1)
        self.head32_conv = ConvBN(c256, c512)
        self.head32 = HeadConv(c512, head32)

        self.lateral = ConvBN(c256, c128, kernel=1)
        self.upsample = Double()
        self.join = Concat()
        self.head16_conv = ConvBN(c128 + c256, c256)
        self.head16 = HeadConv(c256, head16)

    def forward(self, image: paddle.Tensor) -> List[paddle.Tensor]:
        """The raw heads.

        Args:
            image: float32 [N, 3, H, W], RGB in 0..1; H and W multiples of 32.

        Returns:
            float32 [N, A * (5 + C), H/32, W/32] and [N, A * (5 + C), H/16, W/16].
        """
        x = self.pool1(self.conv1(image))
        x = self.pool2(self.conv2(x))
        x = self.pool3(self.conv3(x))
        x = self.pool4(self.conv4(x))
        fine = self.conv5(x)
        x = self.pool5(fine)
        x = self.pool6(self.conv6(x))
        coarse = self.neck(self.conv7(x))

        large = self.head32(self.head32_conv(coarse))
        joined = self.join(self.upsample(self.lateral(coarse)), fine)
        small = self.head16(self.head16_conv(joined))
        return [large, small]


YOLOV3_TINY = ModelFamily(
    name=YoloV3Tiny.model_name,
    build=YoloV3Tiny,
    params=YoloV3TinyParams(),
    preprocess=Preprocess(input_hw=(416, 416)),
    default_cut="pool4",
    reference_cuts=("pool2", "pool3", "pool4", "pool5", "conv7"),
    trainable=True,
)
