"""What can be chosen of a YOLOv3, whichever its backbone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Tuple

from ppsplit.bundle import DecodeSpec


@dataclass(frozen=True)
class AnchorParams:
    """A head for each stride, and boxes as corrections of anchors.

    Attributes:
        num_classes: C.
        anchors: width and height in input pixels.
        masks: for each head, which anchors it uses.
        strides: input pixels per cell of each head.
        width: multiplies all inner channels.
    """

    num_classes: int = 80
    anchors: Tuple[Tuple[float, float], ...] = ()
    masks: Tuple[Tuple[int, ...], ...] = ()
    strides: Tuple[int, ...] = ()
    width: float = 1.0

    least_score: ClassVar[float] = 0.005  # for AP, which asks for all of the curve

    @property
    def output_channels(self) -> Tuple[int, ...]:
        """Of each raw head."""
        return tuple(len(mask) * (5 + self.num_classes) for mask in self.masks)

    def decode_spec(self) -> DecodeSpec:
        """How to decode the raw heads.

        Thresholds are for pictures; an evaluation passes its own. The NMS threshold is darknet's.
        """
        return DecodeSpec(
            "yolov3",
            {
                "num_classes": self.num_classes,
                "anchors": [list(anchor) for anchor in self.anchors],
                "masks": [list(mask) for mask in self.masks],
                "strides": list(self.strides),
                "score_threshold": 0.25,
                "nms_iou_threshold": 0.45,
                "max_detections": 100,
            },
        )
