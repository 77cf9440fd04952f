"""Every way to resize, said as X2Paddle takes it, means in ONNX Runtime what the file's own way means."""

from __future__ import annotations

import itertools
from typing import Any, Optional, Sequence

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the extra ppsplit[onnx] is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra ppsplit[onnx] is not installed")

from ppsplit.errors import OnnxError  # noqa: E402
from ppsplit.importers.lower import lower  # noqa: E402
from ppsplit.importers.resizing import PLACINGS, ROUNDINGS, interpolation  # noqa: E402
from tests.importers.tiny_onnx import Maker  # noqa: E402

IMAGE = np.random.default_rng(3).standard_normal((1, 3, 6, 9)).astype(np.float32)
TARGETS = ([1, 3, 12, 18], [1, 3, 3, 9], [1, 3, 10, 14], [1, 3, 1, 18])


def resized(
    opset: int = 13,
    kind: str = "Resize",
    scales: Optional[Sequence[float]] = None,
    sizes: Optional[Sequence[int]] = None,
    **attributes: Any,
) -> Any:
    m = Maker()
    given = [] if scales is None else [m.weight(np.float32(scales))]
    before = [] if opset < 11 else [""]  # the region of interest
    if sizes is not None:
        given = ["", m.weight(np.int64(sizes))]
    m.op(kind, "image", *before, *given, out="out", **attributes)
    return m.model(["out"], shape=IMAGE.shape, opset=opset)


def run(model: Any) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    values: np.ndarray = session.run(None, {"image": IMAGE})[0]
    return values


def check(model: Any) -> None:
    expected = run(model)
    lower(model)
    model.opset_import[0].version = max(model.opset_import[0].version, 13)  # X2Paddle looks at the inputs only
    np.testing.assert_allclose(run(model), expected, atol=1e-5)


@pytest.mark.parametrize(("placing", "rounding"), list(itertools.product(PLACINGS, ROUNDINGS)))
def test_nearest(placing: str, rounding: str) -> None:
    for sizes in TARGETS:
        check(resized(sizes=sizes, coordinate_transformation_mode=placing, nearest_mode=rounding))


@pytest.mark.parametrize("placing", PLACINGS)
def test_linear(placing: str) -> None:
    for sizes in TARGETS:
        check(resized(sizes=sizes, mode="linear", coordinate_transformation_mode=placing))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_scales_older_opsets_and_axes(mode: str) -> None:
    check(resized(scales=[1, 1, 1.7, 2.5], mode=mode))
    check(resized(scales=[1, 1, 2, 2], mode=mode, opset=10))
    check(resized(scales=[1, 1, 2, 2], mode=mode, opset=9, kind="Upsample"))
    check(resized(scales=[2.5, 0.5], mode=mode, opset=18, axes=[3, 2]))


def test_only_what_all_runtimes_do_alike_stays_a_resize() -> None:
    model = resized(scales=[1, 1, 1.5, 2], opset=13)
    lower(model)
    assert {node.op_type for node in model.graph.node} == {"Gather"}


@pytest.mark.parametrize(
    "attributes",
    [
        {"mode": "cubic"},
        {"coordinate_transformation_mode": "tf_half_pixel_for_nn"},
        {"mode": "linear", "opset": 18, "antialias": 1},
        {"mode": "linear", "scales": [1, 2, 2, 2]},
    ],
)
def test_what_cannot_be_taken_is_named(attributes: Any) -> None:
    with pytest.raises(OnnxError, match="operator 'Resize'"):
        lower(resized(**{"scales": [1, 1, 2, 2], **attributes}))


def test_a_matrix_of_linear_values_keeps_what_is_constant() -> None:
    where = np.array([-0.4, 0.0, 0.3, 3.9, 4.6])
    matrix = interpolation(where, 5)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(matrix @ np.arange(5), np.clip(where, 0, 4), atol=1e-6)
