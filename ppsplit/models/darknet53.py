"""DarkNet-53, the backbone of YOLOv3 (Redmon and Farhadi, 2018, table 1)."""

from __future__ import annotations

from typing import Tuple

from ppsplit.models.blocks import ConvBN, Residual, scaled
from ppsplit.paddle_first import paddle

BLOCKS = (1, 2, 8, 8, 4)  # residual blocks of stage1 .. stage5


class Stage(paddle.nn.Sequential):
    """`down` halves H and W, then `block1`, `block2`, ... refine."""

    def __init__(self, in_channels: int, channels: int, middle: int, blocks: int) -> None:
        named = [("down", ConvBN(in_channels, channels, stride=2))]
        named += [(f"block{i}", Residual(channels, middle)) for i in range(1, blocks + 1)]
        super().__init__(*named)


class DarkNet53(paddle.nn.Layer):
    """52 convolutions: a stem and five stages. Its classifier is not built.

    YOLOv3 derives from it, so that its cuts are named `stage3.block8` and not `backbone.stage3.block8`.
    """

    backbone = ("stem", "stage1", "stage2", "stage3", "stage4", "stage5")
    backbone_plan = (
        "conv",
        *(section for blocks in BLOCKS for section in ("conv", *("conv", "conv", "shortcut -3") * blocks)),
    )

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        c32, c64, c128, c256, c512, c1024 = (scaled(32 << i, width) for i in range(6))
        self.stem = ConvBN(3, c32)
        self.stage1 = Stage(c32, c64, c32, BLOCKS[0])
        self.stage2 = Stage(c64, c128, c64, BLOCKS[1])
        self.stage3 = Stage(c128, c256, c128, BLOCKS[2])
        self.stage4 = Stage(c256, c512, c256, BLOCKS[3])
        self.stage5 = Stage(c512, c1024, c512, BLOCKS[4])

    def features(self, image: paddle.Tensor) -> Tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """Features at strides 8, 16 and 32 of image float32 [N, 3, H, W]."""
        x = self.stem(image)
        x = self.stage1(x)
        x = self.stage2(x)
        stride8 = self.stage3(x)
        stride16 = self.stage4(stride8)
        stride32 = self.stage5(stride16)
        return stride8, stride16, stride32
