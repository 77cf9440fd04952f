"""Where quantizers go."""

from __future__ import annotations

import pytest

from ppsplit.errors import CutError, QuantizationError
from ppsplit.export.simulate import output_error
from ppsplit.paddle_first import paddle
from ppsplit.qat.points import Frozen
from tests.models.seeded import random_image
from tests.prune.conftest import SIDE

IMAGES = [random_image(seed, SIDE, SIDE)[None] for seed in range(2)]


def test_a_tensor_with_two_readers_has_one_clip(tiny: paddle.nn.Layer) -> None:
    points = Frozen(tiny, (SIDE, SIDE), None).points
    assert points.names[:3] == ("image", "pool1", "pool2") and points.names[-2:] == ("join", "head16_conv")
    assert len(points.names) == 12 and len(points.readers) == 13
    assert points.readers["head32_conv.conv"] == points.readers["lateral.conv"] == points.names.index("neck")


def test_only_what_stands_in_front_of_the_cut(tiny: paddle.nn.Layer) -> None:
    frozen = Frozen(tiny, (SIDE, SIDE), "pool2")
    assert frozen.points.names == ("image", "pool1")
    assert frozen.points.readers == {"conv1.conv": 0, "conv2.conv": 1}
    whole = Frozen(tiny, (SIDE, SIDE), None)
    exact = whole.outputs(IMAGES)
    assert output_error(frozen.outputs(IMAGES), exact) == 0
    few = output_error(frozen.outputs(IMAGES, frozen.calibrated(IMAGES, "aciq")), exact)
    all_of_it = output_error(whole.outputs(IMAGES, whole.calibrated(IMAGES, "aciq")), exact)
    assert 0 < few < all_of_it < 0.2


def test_what_cannot_be(tiny: paddle.nn.Layer) -> None:
    with pytest.raises(CutError, match="there is no cut 'pool9'"):
        Frozen(tiny, (SIDE, SIDE), "pool9")
    with pytest.raises(QuantizationError, match="no layer with weights in front of the cut; choose a later --cut"):
        Frozen(tiny, (SIDE, SIDE), "input")


class Doubled(paddle.nn.Layer):  # type: ignore[misc]
    """A sum that no sublayer gives goes into a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = paddle.nn.Conv2D(3, 4, 1), paddle.nn.Conv2D(4, 2, 1)

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        return self.other(paddle.nn.functional.sigmoid(self.one(image)))


def test_what_has_no_name_is_refused() -> None:
    with pytest.raises(QuantizationError, match="is no stage's output .* calibrate instead with --quant ptq"):
        Frozen(Doubled(), (SIDE, SIDE), None)
