"""Run lengths against pycocotools, both ways, and against texts that lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from ppsplit.detections import Detections
from ppsplit.masks import RunLengths

MASKS = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40).flatmap(
    lambda shape: st.one_of(hnp.arrays(bool, shape), st.sampled_from([np.zeros(shape, bool), np.ones(shape, bool)]))
)


@given(MASKS)
@settings(max_examples=200, deadline=None)
def test_as_pycocotools_writes_them(mask):
    ours = RunLengths.of(mask)
    theirs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert ours.to_json() == {"size": list(theirs["size"]), "counts": theirs["counts"].decode()}
    assert (RunLengths.from_json(ours.to_json()).mask() == mask).all()
    assert ours.area == mask.sum() == coco_mask.area(theirs)


def test_long_runs_and_large_differences():
    """Numbers of several characters, and a difference below zero."""
    mask = np.zeros((900, 700), bool)
    mask[100:800, 3:600] = True
    mask[5, 650] = True
    theirs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert RunLengths.of(mask).to_json()["counts"] == theirs["counts"].decode()
    assert (RunLengths.from_json({"size": [900, 700], "counts": theirs["counts"].decode()}).mask() == mask).all()


@pytest.mark.parametrize(
    "values",
    [
        {"size": [2, 2], "counts": "3"},  # too few pixels
        {"size": [2, 2], "counts": "5"},
        {"size": [2, 2], "counts": ""},
        {"size": [2, 2], "counts": "O5"},  # a run of -1
        {"size": [2, 2], "counts": "T"},  # ends in the middle
        {"size": [2, 2], "counts": "o" * 50},
        {"size": [2, 2], "counts": " 4"},
        {"size": [2, 2], "counts": "\u20ac"},
        {"size": [2, 2], "counts": [4]},
        {"size": [2], "counts": "4"},
        {"size": [0, 4], "counts": ""},
        {"size": [-2, -2], "counts": "4"},
        {"size": [2.0, 2], "counts": "4"},
        {"size": [1 << 20, 1], "counts": "4"},
        {"size": [65_535, 65_535], "counts": "QPPloo3"},  # 4 GiB, were it laid out
        {"counts": "4"},
        None,
    ],
)
def test_texts_that_lie(values):
    with pytest.raises((KeyError, TypeError, ValueError)):
        RunLengths.from_json(values)


def test_in_detections_there_and_back_and_of_one_size():
    masks = [RunLengths.of(np.eye(3, 5, k, dtype=bool)) for k in (0, 1)]
    found = Detections(np.float32([[0, 0, 3, 3], [1, 0, 4, 3]]), np.float32([0.9, 0.5]), np.int64([1, 0]), tuple(masks))
    again = Detections.from_records(found.to_records(["cat", "dog"]))
    assert again.masks == found.masks and found.take(np.int64([1])).masks == (masks[1],)
    assert found.with_boxes(found.boxes_xyxy + 1).masks is None
    with pytest.raises(ValueError, match="of one size"):
        found.with_masks([masks[0], RunLengths.of(np.zeros((5, 3), bool))])
    with pytest.raises(ValueError, match="masks"):
        found.with_masks(masks[:1])
    records = found.to_records()
    del records[1]["mask"]
    with pytest.raises(KeyError):
        Detections.from_records(records)
