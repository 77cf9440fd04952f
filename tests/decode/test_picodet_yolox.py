"""PicoDet's and YOLOX's outputs, by hand: one object each, and what is not theirs."""

from __future__ import annotations

from typing import Any, List

import numpy as np
import pytest

from ppsplit.decode.picodet import PicoDetDecoder
from ppsplit.decode.yolox import YoloXDecoder
from ppsplit.errors import InferenceRuntimeError

HW, CLASSES, BINS = (32, 48), 3, 8
LEVELS = ((4, 6), (2, 3))  # cells at strides 8 and 16


def picodet() -> PicoDetDecoder:
    return PicoDetDecoder(HW, CLASSES, (8, 16), BINS, 0.3, 0.6, 100)


def yolox(in_pixels: bool = False) -> YoloXDecoder:
    return YoloXDecoder(HW, CLASSES, (8, 16), in_pixels, 0.3, 0.45, 100)


def picodet_heads(batch: int = 1) -> List[np.ndarray]:
    return [np.zeros((batch, h * w, c), np.float32) for c in (CLASSES, 4 * BINS) for h, w in LEVELS]


def yolox_rows(batch: int = 1) -> np.ndarray:
    return np.zeros((batch, sum(h * w for h, w in LEVELS), 5 + CLASSES), np.float32)


def test_nothing_is_seen_in_zeros() -> None:
    assert [len(found) for found in picodet()(picodet_heads(2))] == [0, 0]
    assert [len(found) for found in yolox()([yolox_rows(2)])] == [0, 0]


def test_picodets_sides_are_means_of_distributions() -> None:
    heads = picodet_heads()
    cell = 1 * 3 + 2  # row 1, column 2 of the level of stride 16: its centre is (40, 24)
    heads[1][0, cell, 2] = 0.9
    sides = heads[3][0, cell].reshape(4, BINS)
    for side, bin_ in enumerate((2, 1, 0, 3)):
        sides[side, bin_] = 60  # nearly all the weight
    sides[2, 1] = 60  # half of it each on 0 and 1
    (found,) = picodet()(heads)
    assert found.class_ids.tolist() == [2] and found.scores.tolist() == pytest.approx([0.9])
    np.testing.assert_allclose(found.boxes_xyxy, [[40 - 32, 24 - 16, 40 + 8, 24 + 48]], atol=1e-3)


@pytest.mark.parametrize("in_pixels", [False, True])
def test_yolox_multiplies_objectness_and_class(in_pixels: bool) -> None:
    rows = yolox_rows()
    cell = 4 * 6 + 1 * 3 + 2  # row 1, column 2 of the second level
    rows[0, cell] = (40, 24, 16, 32, 0.8, 0.5, 0.3, 1.0) if in_pixels else (0.5, 0.5, 0, np.log(2), 0.8, 0.5, 0.3, 1.0)
    (found,) = yolox(in_pixels)([rows])
    assert found.class_ids.tolist() == [2, 0]
    np.testing.assert_allclose(found.scores, [0.8, 0.4], rtol=1e-6)
    np.testing.assert_allclose(found.boxes_xyxy, [[32, 8, 48, 40]] * 2, atol=1e-4)


@pytest.mark.parametrize("decoder", [picodet(), yolox()])
@pytest.mark.parametrize("change", ["order", "one less", "cells", "nan", "rank"])
def test_outputs_that_do_not_fit(decoder: Any, change: str) -> None:
    tensors = picodet_heads() if isinstance(decoder, PicoDetDecoder) else [yolox_rows()]
    if change == "order":
        tensors = [*tensors[1:], tensors[0]] if len(tensors) > 1 else [tensors[0].transpose(0, 2, 1)]
    elif change == "one less":
        tensors = tensors[1:]
    elif change == "cells":
        tensors[0] = tensors[0][:, 1:]
    elif change == "nan":
        tensors[-1][0, 3, 0] = np.nan
    else:
        tensors[0] = tensors[0][0]
    with pytest.raises(InferenceRuntimeError):
        decoder(tensors)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PicoDetDecoder(HW, CLASSES, (), BINS, 0.3, 0.6, 100),
        lambda: PicoDetDecoder(HW, CLASSES, (8,), 1, 0.3, 0.6, 100),
        lambda: YoloXDecoder(HW, 0, (8,), False, 0.3, 0.45, 100),
    ],
)
def test_parameters_of_no_head(make: Any) -> None:
    with pytest.raises(ValueError, match="no head of"):
        make()
