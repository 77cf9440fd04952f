"""YOLO11 (Jocher and Qiu, 2024; the architecture of its yolo11.yaml)."""

from __future__ import annotations

from typing import List, Tuple

from ppsplit.models.blocks import Concat, Double
from ppsplit.models.ultralytics import yolo_families
from ppsplit.models.yolo_blocks import C2PSA, SPPF, ConvSilu, c3k2
from ppsplit.models.yolo_head import YoloHead, depthwise_branch
from ppsplit.models.yolo_params import Yolo11Params
from ppsplit.paddle_first import paddle

NESTED_EVERYWHERE = ("m", "l", "x")  # scales in which every C3k2 holds C3k blocks


class Yolo11(paddle.nn.Layer):
    """A backbone of four stages with attention at its end, a path down and a path up again, and the head."""

    class_names: Tuple[str, ...] = ()  # set by who knows them, one a class; see `class_names_of`
    # the published checkpoints' numbered layers; "" for one without weights
    checkpoint_layers = (
        *("stem", "stage1.down", "stage1.block", "stage2.down", "stage2.block", "stage3.down", "stage3.block"),
        *("stage4.down", "stage4.block", "pyramid", "attention", "", "", "neck16", "", "", "neck8"),
        *("down16", "", "out16", "down32", "", "out32", "head"),
    )

    def __init__(self, params: Yolo11Params) -> None:
        super().__init__()
        self.params = params
        self.model_name = params.model_name
        c64, c128, c256, c512, c1024 = (params.channels(64 << i) for i in range(5))
        repeats, nested = params.repeats(params.first_repeats), params.scale in NESTED_EVERYWHERE

        self.stem = ConvSilu(3, c64, stride=2)
        self.stage1 = _stage(ConvSilu(c64, c128, stride=2), c3k2(c128, c256, repeats, nested, expansion=0.25))
        self.stage2 = _stage(ConvSilu(c256, c256, stride=2), c3k2(c256, c512, repeats, nested, expansion=0.25))
        self.stage3 = _stage(ConvSilu(c512, c512, stride=2), c3k2(c512, c512, repeats, nested=True))
        self.stage4 = _stage(ConvSilu(c512, c1024, stride=2), c3k2(c1024, c1024, repeats, nested=True))
        self.pyramid = SPPF(c1024)
        self.attention = C2PSA(c1024, repeats)

        self.upsample16 = Double()
        self.join16 = Concat()
        self.neck16 = c3k2(c1024 + c512, c512, repeats, nested)
        self.upsample8 = Double()
        self.join8 = Concat()
        self.neck8 = c3k2(c512 + c512, c256, repeats, nested)

        self.down16 = ConvSilu(c256, c256, stride=2)
        self.rejoin16 = Concat()
        self.out16 = c3k2(c256 + c512, c512, repeats, nested)
        self.down32 = ConvSilu(c512, c512, stride=2)
        self.rejoin32 = Concat()
        self.out32 = c3k2(c512 + c1024, c1024, repeats, nested=True)
        self.head = YoloHead(params, (c256, c512, c1024), depthwise_branch)

    def forward(self, image: paddle.Tensor) -> List[paddle.Tensor]:
        """The raw outputs, as `YoloHead` returns them.

        Args:
            image: float32 [N, 3, H, W], RGB in 0..1; H and W multiples of 32.
        """
        stride8 = self.stage2(self.stage1(self.stem(image)))
        stride16 = self.stage3(stride8)
        stride32 = self.attention(self.pyramid(self.stage4(stride16)))

        middle = self.neck16(self.join16(self.upsample16(stride32), stride16))
        fine = self.neck8(self.join8(self.upsample8(middle), stride8))
        medium = self.out16(self.rejoin16(self.down16(fine), middle))
        coarse = self.out32(self.rejoin32(self.down32(medium), stride32))
        return self.head([fine, medium, coarse])


def _stage(down: paddle.nn.Layer, block: paddle.nn.Layer) -> paddle.nn.Layer:
    return paddle.nn.Sequential(("down", down), ("block", block))


YOLO11 = yolo_families(
    Yolo11,
    Yolo11Params(),
    default_cut="stage2.down",
    reference_cuts=("stage1.down", "stage2.down", "stage3.block", "attention"),
)
