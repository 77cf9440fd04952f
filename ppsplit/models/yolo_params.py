"""What can be chosen of YOLOv8 and YOLO11, and the channels and repetitions that follow from a scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Dict, Mapping, NamedTuple, Tuple

from ppsplit.bundle import DecodeSpec
from ppsplit.errors import ConfigError

BINS = 16  # of each side's distribution (Li et al., "Generalized Focal Loss", 2020, section 3.2)
PROTOTYPES = 32  # masks are sums of so many maps (Bolya et al., "YOLACT", 2019, section 3.1)


class Scale(NamedTuple):
    """One of a family's published sizes.

    Attributes:
        depth: multiplies repetitions.
        width: multiplies channels, after they were limited to `max_channels`.
    """

    depth: float
    width: float
    max_channels: int

    def channels(self, full: int, width: float) -> int:
        """Channels of a layer that has `full` at scale 1, times `width`, rounded up to a multiple of 8."""
        return math.ceil(min(full, self.max_channels) * self.width * width / 8) * 8

    def repeats(self, full: int) -> int:
        """Repetitions of a block that are `full` at scale 1."""
        return max(round(full * self.depth), 1)


@dataclass(frozen=True)
class YoloParams:
    """What can be chosen.

    Attributes:
        scale: "n", "s", "m", "l" or "x".
        num_classes: C.
        mask_channels: M, `PROTOTYPES` for a network that also segments, 0 for one that does not.
        width: multiplies all inner channels once more; 1 is the published network.

    Raises:
        ConfigError: no such scale.
    """

    scale: str = "n"
    num_classes: int = 80
    mask_channels: int = 0
    width: float = 1.0

    strides: ClassVar[Tuple[int, ...]] = (8, 16, 32)
    least_score: ClassVar[float] = 0.001  # for AP, as Ultralytics measures it
    # by each series
    series: ClassVar[str] = ""
    scales: ClassVar[Mapping[str, Scale]] = {}
    first_repeats: ClassVar[int] = 0  # of the first stage's block, at scale 1

    def __post_init__(self) -> None:
        if self.scale not in self.scales:
            raise ConfigError(f"scale must be one of {', '.join(self.scales)}, not {self.scale!r}")

    @property
    def model_name(self) -> str:
        """As the published checkpoint is called, "yolov8n-seg"."""
        return f"{self.series}{self.scale}{'-seg' if self.mask_channels else ''}"

    @property
    def any_scale_name(self) -> str:
        """The same without the scale, "yolov8-seg"."""
        return f"{self.series}{'-seg' if self.mask_channels else ''}"

    @property
    def output_channels(self) -> Tuple[int, ...]:
        """Of each raw output: a map a stride, then the prototypes of the masks."""
        one = 4 * BINS + self.num_classes + self.mask_channels
        return (one,) * len(self.strides) + ((self.mask_channels,) if self.mask_channels else ())

    def channels(self, full: int) -> int:
        """As `Scale.channels`, of this network's scale and width."""
        return self.scales[self.scale].channels(full, self.width)

    def repeats(self, full: int) -> int:
        """As `Scale.repeats`."""
        return self.scales[self.scale].repeats(full)

    def decode_spec(self) -> DecodeSpec:
        """How to decode the raw outputs. Thresholds are for pictures; an evaluation passes its own."""
        return DecodeSpec(
            "yolov8",
            {
                "num_classes": self.num_classes,
                "mask_channels": self.mask_channels,
                "strides": list(self.strides),
                "score_threshold": 0.25,
                "nms_iou_threshold": 0.7,
                "max_detections": 300,
            },
        )


@dataclass(frozen=True)
class Yolo11Params(YoloParams):
    """YOLO11's scales (Jocher and Qiu, 2024, yolo11.yaml)."""

    series: ClassVar[str] = "yolo11"
    first_repeats: ClassVar[int] = 2
    scales: ClassVar[Dict[str, Scale]] = {
        "n": Scale(0.50, 0.25, 1024),
        "s": Scale(0.50, 0.50, 1024),
        "m": Scale(0.50, 1.00, 512),
        "l": Scale(1.00, 1.00, 512),
        "x": Scale(1.00, 1.50, 512),
    }


@dataclass(frozen=True)
class YoloV8Params(YoloParams):
    """YOLOv8's scales (Jocher, Chaurasia and Qiu, 2023, yolov8.yaml)."""

    series: ClassVar[str] = "yolov8"
    first_repeats: ClassVar[int] = 3
    scales: ClassVar[Dict[str, Scale]] = {
        "n": Scale(0.33, 0.25, 1024),
        "s": Scale(0.33, 0.50, 1024),
        "m": Scale(0.67, 0.75, 768),
        "l": Scale(1.00, 1.00, 512),
        "x": Scale(1.00, 1.25, 512),
    }
