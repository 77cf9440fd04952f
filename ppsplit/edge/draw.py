"""Detections, or classes, drawn onto their picture."""

from __future__ import annotations

import colorsys
from typing import Optional, Sequence, Tuple

import cv2
import numpy as np

from ppsplit.classification import Classification
from ppsplit.detections import Detections
from ppsplit.edge.answer import EdgeResult
from ppsplit.masks import RunLengths

Colour = Tuple[int, int, int]
FONT = cv2.FONT_HERSHEY_SIMPLEX
# Steps of the golden ratio around the colour circle never come near an earlier one.
GOLDEN_RATIO = 0.618033988749895
MASK_OPACITY = 0.45
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def draw_result(image_rgb: np.ndarray, result: EdgeResult, class_names: Sequence[str]) -> Optional[np.ndarray]:
    """What a picture gave, drawn onto a copy of it, and where it came from if not the cloud; None for raw outputs.

    Args and returns as `draw_detections`.
    """
    if result.detections is not None:
        drawn = draw_detections(image_rgb, result.detections, class_names)
    elif result.classification is not None:
        drawn = draw_classification(image_rgb, result.classification, class_names)
    else:
        return None
    if result.degraded_reason is not None:
        height, width = drawn.shape[:2]
        _label(drawn, f"{result.origin}: {result.degraded_reason}", (width, height), BLACK, min(height, width) / 400)
    return drawn


def draw_detections(image_rgb: np.ndarray, detections: Detections, class_names: Sequence[str]) -> np.ndarray:
    """A copy of the picture with masks, boxes, class names and scores; lines and letters grow with the picture.

    Args:
        image_rgb: uint8 [H, W, 3].
        detections: boxes in its pixels.
        class_names: by class id; an id beyond them is drawn as a number.

    Returns:
        uint8 [H, W, 3], RGB.
    """
    canvas = np.ascontiguousarray(image_rgb).copy()
    unit = min(canvas.shape[:2]) / 400  # 1 for a picture whose shorter side has 400 pixels
    order = range(len(detections) - 1, -1, -1)  # the surest last, on top
    if detections.masks is not None:
        for index in order:
            _tint(canvas, detections.masks[index], class_colour(int(detections.class_ids[index])), max(1, round(unit)))
    for index in order:
        class_id = int(detections.class_ids[index])
        x1, y1, x2, y2 = (int(round(float(v))) for v in detections.boxes_xyxy[index])
        colour = class_colour(class_id)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, max(1, round(2 * unit)), cv2.LINE_AA)
        text = f"{_name(class_id, class_names)} {detections.scores[index]:.2f}"
        _label(canvas, text, (x1, y1), colour, unit)
    return canvas


def _tint(canvas: np.ndarray, mask: RunLengths, colour: Colour, line: int) -> None:
    """Colour what a mask covers, see-through, with its outline; a mask of another size than the picture is left out."""
    if mask.hw != canvas.shape[:2] or not mask.area:
        return
    covered = mask.mask()
    blended = canvas[covered] * (1 - MASK_OPACITY) + np.array(colour, np.float32) * MASK_OPACITY
    canvas[covered] = np.round(blended).astype(np.uint8)
    outlines, _ = cv2.findContours(covered.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, outlines, -1, colour, line, cv2.LINE_AA)


def draw_classification(image_rgb: np.ndarray, found: Classification, class_names: Sequence[str]) -> np.ndarray:
    """A copy of the picture with its classes and their scores in the top left corner, a line each, best first.

    Args and returns as `draw_detections`.
    """
    canvas = np.ascontiguousarray(image_rgb).copy()
    unit = min(canvas.shape[:2]) / 400
    top = 0
    for class_id, score in zip(found.class_ids.tolist(), found.scores.tolist()):
        text = f"{_name(class_id, class_names)} {score:.2f}"
        top = _label(canvas, text, (0, top), class_colour(class_id), unit, below=True)
    return canvas


def _name(class_id: int, class_names: Sequence[str]) -> str:
    return class_names[class_id] if class_id < len(class_names) else f"class {class_id}"


def class_colour(class_id: int) -> Colour:
    """RGB, the same for a class in every picture; neighbouring ids differ in hue and every other one in depth."""
    hue = (class_id * GOLDEN_RATIO) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85 if class_id % 2 else 0.65, 0.8 if class_id % 2 else 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def _label(
    canvas: np.ndarray, text: str, corner_xy: Tuple[int, int], colour: Colour, unit: float, below: bool = False
) -> int:
    """Text on a filled plate, above the corner if there is room (or `below` it), and always inside the picture.

    Returns:
        the plate's lower edge.
    """
    height, width = canvas.shape[:2]
    scale, thickness = max(0.35, 0.5 * unit), max(1, round(unit))
    (text_w, text_h), baseline = cv2.getTextSize(text, FONT, scale, thickness)
    plate_w, plate_h = text_w + 4, text_h + baseline + 2
    left = max(0, min(corner_xy[0], width - plate_w))
    top = corner_xy[1] - plate_h if corner_xy[1] >= plate_h and not below else corner_xy[1]
    top = max(0, min(top, height - plate_h))
    cv2.rectangle(canvas, (left, top), (left + plate_w, top + plate_h), colour, cv2.FILLED)
    luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    ink = BLACK if luminance > 140 else WHITE
    cv2.putText(canvas, text, (left + 2, top + text_h + 1), FONT, scale, ink, thickness, cv2.LINE_AA)
    return top + plate_h
