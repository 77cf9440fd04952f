"""Masks as sums of prototypes (Bolya et al., "YOLACT", 2019, section 3.1). numpy and OpenCV."""

from __future__ import annotations

from typing import List, Tuple

import cv2
import numpy as np

from ppsplit.masks import RunLengths


def assemble_masks(
    coefficients: np.ndarray, prototypes: np.ndarray, boxes_xyxy: np.ndarray, input_hw: Tuple[int, int]
) -> List[RunLengths]:
    """The mask of each object, within its box.

    The sum is resized to the input bilinearly, and set where it is above 0, which is where its sigmoid is above 0.5.
    Resized first and cut out afterwards, an outline does not follow the prototypes' coarse cells.

    Args:
        coefficients: float32 [K, M].
        prototypes: float32 [M, h, w].
        boxes_xyxy: float32 [K, 4], in input pixels.
    """
    maps, height, width = prototypes.shape
    sums = (coefficients @ prototypes.reshape(maps, -1)).reshape(-1, height, width)
    return [_mask(values, box, input_hw) for values, box in zip(sums, boxes_xyxy)]


def _mask(values: np.ndarray, box_xyxy: np.ndarray, input_hw: Tuple[int, int]) -> RunLengths:
    height, width = input_hw
    # a pixel belongs to the box where its index does
    left, top, right, bottom = np.ceil(box_xyxy)
    x1, x2 = (int(np.clip(side, 0, width)) for side in (left, right))
    y1, y2 = (int(np.clip(side, 0, height)) for side in (top, bottom))
    mask = np.zeros(input_hw, bool)
    if x1 < x2 and y1 < y2:
        resized = cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR)
        mask[y1:y2, x1:x2] = resized[y1:y2, x1:x2] > 0
    return RunLengths.of(mask)
