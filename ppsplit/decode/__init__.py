"""Raw outputs to detections or classes, one file a model family. numpy only."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple

from ppsplit.bundle import DecodeSpec
from ppsplit.decode.classify import Classifier
from ppsplit.decode.picodet import PicoDetDecoder
from ppsplit.decode.yolov3 import YoloV3Decoder
from ppsplit.decode.yolov8 import YoloV8Decoder
from ppsplit.decode.yolox import YoloXDecoder
from ppsplit.errors import InferenceRuntimeError

# (outputs, score_threshold=None, iou_threshold=None, max_detections=None) -> for each image one Detections, or for the
# family "classify" one Classification
Decoder = Callable[..., List[Any]]

CLASSIFY = "classify"  # the family whose images have classes, not boxes
FAMILIES: Dict[str, Callable[..., Decoder]] = {
    CLASSIFY: Classifier,
    "picodet": PicoDetDecoder,
    "yolov3": YoloV3Decoder,
    "yolov8": YoloV8Decoder,
    "yolox": YoloXDecoder,
}


def build_decoder(spec: DecodeSpec, input_hw: Tuple[int, int]) -> Decoder:
    """The decoder of a bundle's `decode` entry.

    Args:
        spec: family and parameters.
        input_hw: the network's input, in pixels.

    Returns:
        a callable from raw outputs, in the manifest's order, to what each image holds: detections, boxes in
        input pixels, or for the family "classify" its classes. Thresholds that are not given are the spec's.

    Raises:
        InferenceRuntimeError: an unknown family, or its parameters are not as it needs them.
    """
    if spec.family not in FAMILIES:
        raise InferenceRuntimeError(f"no decoder for the family {spec.family!r}; known: {', '.join(FAMILIES)}")
    try:
        return FAMILIES[spec.family](input_hw=tuple(input_hw), **spec.params)
    except (TypeError, ValueError) as error:
        raise InferenceRuntimeError(
            f"the decode parameters of the family {spec.family!r} are wrong ({error}); export the bundle again"
        ) from error
