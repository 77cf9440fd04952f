"""YOLOv8, for boxes and for masks (Jocher, Chaurasia and Qiu, 2023; its yolov8.yaml and yolov8-seg.yaml)."""

from __future__ import annotations

from typing import List, Tuple

from ppsplit.models.blocks import Concat, Double
from ppsplit.models.ultralytics import yolo_families
from ppsplit.models.yolo_blocks import SPPF, ConvSilu, c2f
from ppsplit.models.yolo_head import YoloHead, plain_branch
from ppsplit.models.yolo_params import PROTOTYPES, YoloV8Params
from ppsplit.paddle_first import paddle


class YoloV8(paddle.nn.Layer):
    """A backbone of four stages, a path down and a path up again, and the head."""

    class_names: Tuple[str, ...] = ()  # set by who knows them, one a class; see `class_names_of`
    # the published checkpoints' numbered layers; "" for one without weights
    checkpoint_layers = (
        *("stem", "stage1.down", "stage1.block", "stage2.down", "stage2.block", "stage3.down", "stage3.block"),
        *("stage4.down", "stage4.block", "pyramid", "", "", "neck16", "", "", "neck8"),
        *("down16", "", "out16", "down32", "", "out32", "head"),
    )

    def __init__(self, params: YoloV8Params) -> None:
        super().__init__()
        self.params = params
        self.model_name = params.model_name
        c64, c128, c256, c512, c1024 = (params.channels(64 << i) for i in range(5))
        few, many = params.repeats(params.first_repeats), params.repeats(6)

        self.stem = ConvSilu(3, c64, stride=2)
        self.stage1 = _stage(c64, c128, few)
        self.stage2 = _stage(c128, c256, many)
        self.stage3 = _stage(c256, c512, many)
        self.stage4 = _stage(c512, c1024, few)
        self.pyramid = SPPF(c1024)

        self.upsample16 = Double()
        self.join16 = Concat()
        self.neck16 = c2f(c1024 + c512, c512, few, shortcut=False)
        self.upsample8 = Double()
        self.join8 = Concat()
        self.neck8 = c2f(c512 + c256, c256, few, shortcut=False)

        self.down16 = ConvSilu(c256, c256, stride=2)
        self.rejoin16 = Concat()
        self.out16 = c2f(c256 + c512, c512, few, shortcut=False)
        self.down32 = ConvSilu(c512, c512, stride=2)
        self.rejoin32 = Concat()
        self.out32 = c2f(c512 + c1024, c1024, few, shortcut=False)
        self.head = YoloHead(params, (c256, c512, c1024), plain_branch)

    def forward(self, image: paddle.Tensor) -> List[paddle.Tensor]:
        """The raw outputs, as `YoloHead` returns them.

        Args:
            image: float32 [N, 3, H, W], RGB in 0..1; H and W multiples of 32.
        """
        stride8 = self.stage2(self.stage1(self.stem(image)))
        stride16 = self.stage3(stride8)
        stride32 = self.pyramid(self.stage4(stride16))

        middle = self.neck16(self.join16(self.upsample16(stride32), stride16))
        fine = self.neck8(self.join8(self.upsample8(middle), stride8))
        medium = self.out16(self.rejoin16(self.down16(fine), middle))
        coarse = self.out32(self.rejoin32(self.down32(medium), stride32))
        return self.head([fine, medium, coarse])


def _stage(in_channels: int, out_channels: int, repeats: int) -> paddle.nn.Layer:
    """Halve H and W, then the block."""
    return paddle.nn.Sequential(
        ("down", ConvSilu(in_channels, out_channels, stride=2)),
        ("block", c2f(out_channels, out_channels, repeats, shortcut=True)),
    )


_CUTS = ("stage1.down", "stage2.down", "stage3.block", "pyramid")
YOLOV8 = yolo_families(YoloV8, YoloV8Params(), _CUTS[1], _CUTS)
YOLOV8_SEG = yolo_families(YoloV8, YoloV8Params(mask_channels=PROTOTYPES), _CUTS[1], _CUTS)
