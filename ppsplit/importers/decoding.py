"""What each family of models wants: how photos become its input, and how its outputs become detections."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Dict, List, Sequence, Tuple

from ppsplit.bundle import DecodeSpec, TensorSpec
from ppsplit.decode.yolov8 import EXPORTED
from ppsplit.errors import OnnxError
from ppsplit.image import Preprocess
from ppsplit.models.classifier import CENTRE_CROP
from ppsplit.models.paddledetection import IMAGENET_MEAN, IMAGENET_STD
from ppsplit.models.ultralytics import LETTERBOX

AS_PIXELS = (1 / 255, 1 / 255, 1 / 255)  # a std that leaves values in 0..255

# As the projects that publish the models do it: PaddleDetection, YOLOX, Ultralytics, torchvision.
PREPROCESS: Dict[str, Callable[[Tuple[int, int]], Preprocess]] = {
    "picodet": lambda hw: Preprocess(hw, "stretch", mean=IMAGENET_MEAN, std=IMAGENET_STD, interpolation="cubic"),
    "yolox": lambda hw: Preprocess(hw, "letterbox", LETTERBOX.pad_pixel, std=AS_PIXELS, channels="bgr"),
    "yolov8": lambda hw: replace(LETTERBOX, input_hw=hw),
    "classify": lambda hw: replace(CENTRE_CROP, input_hw=hw),
    "raw": lambda hw: Preprocess(hw, "stretch"),
}


def decode_spec_of(family: str, outputs: Sequence[TensorSpec], in_pixels: bool, softmax: bool) -> DecodeSpec:
    """How to decode a model's outputs. Thresholds are for pictures; an evaluation passes its own.

    Args:
        family: a key of `PREPROCESS`.
        outputs: of the model, in its order.
        in_pixels: of yolox: the graph returns boxes in pixels.
        softmax: of classify: the graph returns logits.

    Raises:
        OnnxError: the model has another number of outputs, or of other ranks, than the family.
    """
    return DecodeSpec(*_SPECS[family]([spec.shape for spec in outputs], in_pixels, softmax))


Shapes = List[Tuple[int, ...]]
Described = Tuple[str, Dict[str, Any]]


def _raw(shapes: Shapes, in_pixels: bool, softmax: bool) -> Described:
    return "raw", {}


def _classify(shapes: Shapes, in_pixels: bool, softmax: bool) -> Described:
    fits = len(shapes) == 1 and len(shapes[0]) in (2, 4) and shapes[0][2:] in ((), (1, 1))
    _check("classify", fits, shapes, "one output [batch, classes]")
    return "classify", {"num_classes": shapes[0][1], "softmax": softmax, "max_detections": 5}


def _picodet(shapes: Shapes, in_pixels: bool, softmax: bool) -> Described:
    levels = len(shapes) // 2
    fits = levels >= 1 and len(shapes) == 2 * levels and all(len(shape) == 3 for shape in shapes)
    _check("picodet", fits, shapes, "scores [batch, cells, classes] of each level, then sides [batch, cells, 4 * bins]")
    return "picodet", {
        "num_classes": shapes[0][2],
        "strides": [8 << level for level in range(levels)],
        "bins": shapes[levels][2] // 4,
        "score_threshold": 0.3,
        "nms_iou_threshold": 0.6,
        "max_detections": 100,
    }


def _yolox(shapes: Shapes, in_pixels: bool, softmax: bool) -> Described:
    _check("yolox", len(shapes) == 1 and len(shapes[0]) == 3, shapes, "one output [batch, cells, 5 + classes]")
    return "yolox", {
        "num_classes": shapes[0][2] - 5,
        "strides": [8, 16, 32],
        "in_pixels": in_pixels,
        "score_threshold": 0.3,
        "nms_iou_threshold": 0.45,
        "max_detections": 100,
    }


def _yolov8(shapes: Shapes, in_pixels: bool, softmax: bool) -> Described:
    fits = [len(shape) for shape in shapes] in ([3], [3, 4])
    _check("yolov8", fits, shapes, "one output [batch, 4 + classes, cells], with masks prototypes behind it")
    masks = shapes[1][1] if len(shapes) == 2 else 0
    return "yolov8", {
        "num_classes": shapes[0][1] - 4 - masks,
        "mask_channels": masks,
        "layout": EXPORTED,
        "score_threshold": 0.25,
        "nms_iou_threshold": 0.7,
        "max_detections": 300,
    }


_SPECS = {"raw": _raw, "classify": _classify, "picodet": _picodet, "yolox": _yolox, "yolov8": _yolov8}


def _check(family: str, fits: bool, shapes: Shapes, expected: str) -> None:
    if not fits:
        raise OnnxError(
            f"--decode {family} takes {expected}; the model returns {[list(shape) for shape in shapes]}. Choose "
            "another --decode; raw takes everything"
        )
