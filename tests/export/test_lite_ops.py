"""What detectors are made of, one operator a network: converted for both targets, run on x86 against Paddle."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest

from ppsplit.errors import ProgramError
from ppsplit.export.lite import convert_to_nb
from ppsplit.export.lite_ready import make_lite_ready, read_program
from ppsplit.paddle_first import paddle
from ppsplit.runtime import native_target
from ppsplit.runtime.lite import LiteRuntime
from ppsplit.runtime.nb import read_nb
from ppsplit.runtime.paddle import PaddleRuntime
from tests.export.conftest import conv, freeze_network

functional = paddle.nn.functional
CHANNELS = 8
TOLERANCE = 1e-5  # of the largest value; the worst measured is 3e-6


class After(paddle.nn.Layer):  # type: ignore[misc]
    """A layer, or a function, after one convolution whose outputs reach beyond -6 and 6."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.conv, self.function = conv(3, CHANNELS), function

    def forward(self, image: Any) -> Any:
        return self.function(self.conv(image) * 8)


def spp(x: Any) -> Any:
    return paddle.concat([x, *(functional.max_pool2d(x, size, 1, size // 2) for size in (5, 9, 13))], axis=1)


def attention(x: Any) -> Any:
    """Every place attends to every other: [N, C, H, W] to [N, H*W, C]."""
    tokens = paddle.transpose(paddle.flatten(x, 2), [0, 2, 1])
    weights = functional.softmax(paddle.matmul(tokens, tokens, transpose_y=True) * 0.01, axis=-1)
    return paddle.matmul(weights, tokens)


def batched_matmul(x: Any) -> Any:
    rows = paddle.flatten(x, 2)
    return paddle.bmm(rows, paddle.transpose(rows, [0, 2, 1]))


def multiclass_nms(x: Any) -> List[Any]:
    """Four numbers a place as a box, and as the scores of four classes."""
    places = paddle.reshape(paddle.transpose(x, [0, 2, 3, 1]), [1, -1, CHANNELS])
    corner, size = places[:, :, :2], paddle.abs(places[:, :, 2:4]) + 1
    scores = functional.sigmoid(paddle.transpose(places[:, :, 4:], [0, 2, 1]) * 0.1)
    helper = paddle.base.layer_helper.LayerHelper("multiclass_nms3")
    outputs = {
        "Out": helper.create_variable_for_type_inference("float32"),
        "Index": helper.create_variable_for_type_inference("int32"),
        "NmsRoisNum": helper.create_variable_for_type_inference("int32"),
    }
    settings = {"background_label": -1, "score_threshold": 0.4, "nms_threshold": 0.5, "nms_eta": 1.0}
    settings.update({"nms_top_k": 50, "keep_top_k": 20, "normalized": True})
    boxes = paddle.concat([corner, corner + size], axis=-1)
    helper.append_op(
        type="multiclass_nms3", inputs={"BBoxes": boxes, "Scores": scores}, outputs=outputs, attrs=settings
    )
    return [outputs["Out"], outputs["NmsRoisNum"]]


OPERATORS: Dict[str, Callable[[Any], Any]] = {
    "relu6": functional.relu6,
    "hard_swish": functional.hardswish,
    "hard_sigmoid": functional.hardsigmoid,
    "hard_tanh": functional.hardtanh,
    "silu": functional.silu,
    "swish": functional.swish,
    "x * sigmoid(x)": lambda x: x * functional.sigmoid(x),
    "sigmoid": functional.sigmoid,
    "leaky_relu": lambda x: functional.leaky_relu(x, 0.1),
    "mish": functional.mish,
    "gelu": functional.gelu,
    "softmax over channels": lambda x: functional.softmax(x, axis=1),
    "softmax over the last": lambda x: functional.softmax(x, axis=-1),
    "nearest x2": lambda x: functional.interpolate(x, scale_factor=2, mode="nearest"),
    "nearest to a size": lambda x: functional.interpolate(x, size=[64, 96], mode="nearest"),
    "bilinear x2": lambda x: functional.interpolate(x, scale_factor=2, mode="bilinear"),
    "spp": spp,
    "pool of stride 1": lambda x: functional.max_pool2d(x, 2, 1, padding="SAME"),
    "global pool": lambda x: functional.adaptive_avg_pool2d(x, 1),
    "attention": attention,
    "bmm": batched_matmul,
    "multiclass nms": multiclass_nms,
    "split": lambda x: paddle.concat(paddle.split(x, 2, axis=1)[::-1], axis=1),
    "channel shuffle": lambda x: functional.channel_shuffle(x, 2),
    "pixel shuffle": lambda x: functional.pixel_shuffle(x, 2),
    "top k": lambda x: paddle.topk(paddle.flatten(x, 1), 10)[0],
    "square": lambda x: x**2,
    "where": lambda x: paddle.where(x > 0, x, x * 0.1),
    "instance norm": functional.instance_norm,
}
LAYERS: Dict[str, Callable[[], Any]] = {  # made when they are wanted, or two would have parameters of one name
    "layer norm": lambda: paddle.nn.LayerNorm(48),
    "group norm": lambda: paddle.nn.GroupNorm(2, CHANNELS),
    "batch norm": lambda: paddle.nn.BatchNorm2D(CHANNELS),
    "transposed convolution": lambda: paddle.nn.Conv2DTranspose(CHANNELS, 4, 2, 2),
    "depthwise convolution": lambda: paddle.nn.Conv2D(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS),
}


def saved(function: Callable[[Any], Any], folder: Path) -> Path:
    paddle.seed(0)
    return freeze_network(After(function), folder / "traced").save(folder / "model") / "model"


def served(prefix: Path) -> PaddleRuntime:
    return PaddleRuntime(Path(f"{prefix}.pdmodel"), Path(f"{prefix}.pdiparams"))


@pytest.mark.parametrize("name", [*OPERATORS, *LAYERS])
def test_it_converts_and_computes_the_same(name: str, tmp_path: Path) -> None:
    prefix = saved(OPERATORS[name] if name in OPERATORS else LAYERS[name](), tmp_path)
    written = {t: convert_to_nb(prefix, tmp_path / f"{t}.nb", t) for t in ("x86", "arm")}
    for target, nb in written.items():
        assert read_nb(nb).targets <= {target}
    feeds = {"image": np.random.default_rng(0).standard_normal((1, 3, 32, 48)).astype(np.float32)}
    expected = served(prefix).run(feeds)
    actual = LiteRuntime(written[native_target()]).run(feeds)
    for whole, light in zip(expected.values(), actual.values()):
        assert light.shape == whole.shape and light.dtype == whole.dtype
        np.testing.assert_allclose(light, whole, rtol=0, atol=TOLERANCE * float(np.abs(whole).max()))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("relu6", "attribute threshold 6 written out"),
        ("swish", "attribute beta 1 written out"),
        ("top k", "output XShape came back"),
        ("instance norm", "output SavedMean came back; output SavedVariance came back"),
        ("bmm", "bmm became matmul_v2"),
        ("hard_tanh", "brelu became clip"),
        ("channel shuffle", "channel_shuffle became shuffle_channel"),
        ("square", "a scalar became a vector of one"),
    ],
)
def test_what_is_mended(name: str, change: str, tmp_path: Path) -> None:
    model = Path(f"{saved(OPERATORS[name], tmp_path)}.pdmodel")
    before = model.read_bytes()
    program = read_program(model)
    assert change in make_lite_ready(program).values()
    assert not any("became" in again for again in make_lite_ready(program).values()), "it is mended now"
    assert model.read_bytes() == before, "the program that is served stays as it is"


def test_an_attribute_that_was_saved_keeps_its_value(tmp_path: Path) -> None:
    program = read_program(Path(f"{saved(OPERATORS['swish'], tmp_path)}.pdmodel"))
    swish = next(op for op in program.global_block().ops if op.type == "swish")
    swish.desc._set_attr("beta", 2.0)
    assert "attribute beta 2 written out" in make_lite_ready(program).values()


def test_nothing_is_mended_where_nothing_is_amiss(tmp_path: Path) -> None:
    assert make_lite_ready(read_program(Path(f"{saved(OPERATORS['silu'], tmp_path)}.pdmodel"))) == {}


def test_a_scalar_stays_one_where_it_could_matter(tmp_path: Path) -> None:
    def stacked(x: Any) -> Any:
        return x + paddle.sum(paddle.stack([paddle.full([], 2.0), paddle.full([], 3.0)]))

    program = read_program(Path(f"{saved(stacked, tmp_path)}.pdmodel"))
    assert "a scalar became a vector of one" not in make_lite_ready(program).values()


def test_channels_last_are_not_renamed(tmp_path: Path) -> None:
    def last(x: Any) -> Any:
        return functional.channel_shuffle(paddle.transpose(x, [0, 2, 3, 1]), 2, data_format="NHWC")

    assert make_lite_ready(read_program(Path(f"{saved(last, tmp_path)}.pdmodel"))) == {}


@pytest.mark.parametrize("content", [None, b"", b"garbage" * 100], ids=["missing", "empty", "garbage"])
def test_what_is_no_program_is_refused(content: Any, tmp_path: Path) -> None:
    model = tmp_path / "model.pdmodel"
    if content is not None:
        model.write_bytes(content)
    with pytest.raises(ProgramError, match="model.pdmodel"):
        read_program(model)
