"""Observation sees what the network computes; images that say nothing are told so."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

import cv2
import numpy as np
import pytest

from ppsplit.bundle import TensorSpec
from ppsplit.data.sample_photos import sample_photos
from ppsplit.errors import CalibrationError
from ppsplit.export import calibration
from ppsplit.export.calibration import calibration_inputs, check_inputs, observe, quantizable_activations
from ppsplit.export.freeze import FrozenModel
from ppsplit.image import Preprocess, read_image, to_input
from ppsplit.paddle_first import paddle
from tests.export.conftest import conv, freeze_network

SPEC = TensorSpec("image", (-1, 3, 32, 48), "float32")
RNG = np.random.default_rng(0)
IMAGE = RNG.random((1, 3, 32, 48), np.float32)


@pytest.fixture(scope="module")
def inputs(skip_model: FrozenModel) -> List[np.ndarray]:
    return [to_input(read_image(path), skip_model.preprocess)[0] for path in sample_photos()[:3]]


def test_the_inputs_of_what_has_weights_are_quantized(skip_model: FrozenModel) -> None:
    graph = skip_model.program.graph()
    convolutions = [op for op in graph.operators if op.kind == "conv2d"]
    names = quantizable_activations(graph)
    assert names == list(dict.fromkeys(name for op in convolutions for name in op.inputs))
    assert names[0] == "image" and len(names) == 4


def test_it_sees_every_value_of_every_image(skip_model: FrozenModel, inputs: List[np.ndarray]) -> None:
    names = quantizable_activations(skip_model.program.graph())
    together = observe(skip_model.program, names, inputs)
    alone = [observe(skip_model.program, names, [image]) for image in inputs]
    batch = observe(skip_model.program, names, [np.concatenate(inputs)])
    for name, seen in together.items():
        parts = [found[name] for found in alone]
        assert seen.low == min(p.low for p in parts) and seen.high == max(p.high for p in parts)
        assert seen.mean_abs == pytest.approx(np.mean([p.mean_abs for p in parts]))
        assert seen.mean_square == pytest.approx(np.mean([p.mean_square for p in parts]))
        assert seen.samples.size == 3 * seen.elements == 3 * parts[0].samples.size
        assert batch[name].mean_square == pytest.approx(seen.mean_square, rel=1e-5)
        assert batch[name].elements == seen.elements
    pixels = np.concatenate(inputs)
    assert together["image"].one_sided and together["image"].largest == pixels.max()
    assert not together[names[1]].one_sided  # behind a leaky ReLU
    np.testing.assert_array_equal(together["image"].samples, pixels.ravel())


def test_samples_are_thinned_over_the_whole_tensor(
    skip_model: FrozenModel, inputs: List[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "MAX_SAMPLES", 500)
    seen = observe(skip_model.program, ["image"], inputs)["image"]
    assert 500 <= seen.samples.size < 600
    assert np.mean(seen.samples) == pytest.approx(np.mean(np.concatenate(inputs)), abs=0.05)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "nothing to calibrate on"),
        ([IMAGE[:, :, :16]], r"\[1, 3, 16, 48\], the network takes float32 \[-1, 3, 32, 48\]"),
        ([IMAGE[0]], "the network takes"),
        ([IMAGE[:0]], "the network takes"),
        ([IMAGE.astype(np.float64)], "float64"),
        ([IMAGE, np.full_like(IMAGE, np.nan)], "input 1 .* not finite"),
        ([np.zeros_like(IMAGE)], "single value"),
        ([np.zeros_like(IMAGE), np.ones_like(IMAGE)], "every one of 2"),
    ],
)
def test_inputs_that_say_nothing_are_refused(given: List[np.ndarray], message: str, skip_model: FrozenModel) -> None:
    with pytest.raises(CalibrationError, match=message):
        check_inputs(given, SPEC)
    with pytest.raises(CalibrationError, match=message):
        observe(skip_model.program, ["image"], given)


def test_one_black_image_among_others_is_no_error() -> None:
    check_inputs([np.zeros_like(IMAGE), IMAGE], SPEC)


class Dead(paddle.nn.Layer):  # type: ignore[misc]
    """A ReLU behind a bias that lets nothing through."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = conv(3, 4), conv(4, 4)
        self.stem.bias.set_value(np.full(4, -1e3, np.float32))

    def forward(self, image: Any) -> Any:
        return self.last(paddle.nn.functional.relu(self.stem(image)))


def test_a_constant_tensor_is_named(tmp_path: Path) -> None:
    model = freeze_network(Dead(), tmp_path)
    names = quantizable_activations(model.program.graph())
    with pytest.raises(CalibrationError, match=f"'{names[1]}' is 0 everywhere on all 1 calibration"):
        observe(model.program, names, [IMAGE])


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    preprocess = Preprocess((32, 48), resize="stretch")
    with pytest.raises(CalibrationError, match="does not exist"):
        calibration_inputs(tmp_path / "nowhere", 4, preprocess)
    with pytest.raises(CalibrationError, match="no image in"):
        calibration_inputs(tmp_path, 4, preprocess)
    with pytest.raises(CalibrationError, match="at least one"):
        calibration_inputs(tmp_path, 0, preprocess)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(CalibrationError, match="broken.png"):
        calibration_inputs(tmp_path, 4, preprocess)
    cv2.imwrite(str(tmp_path / "a.png"), RNG.integers(0, 255, (9, 9, 3)))
    assert [x.shape for x in calibration_inputs(tmp_path, 1, preprocess)] == [(1, 3, 32, 48)]
