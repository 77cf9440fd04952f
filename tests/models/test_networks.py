"""Shapes, names, folding and conversion of the networks."""

from __future__ import annotations

import numpy as np
import pytest

from ppsplit.errors import ConfigError
from ppsplit.export.lite import convert_to_nb
from ppsplit.models import build_model, model_family
from ppsplit.models.blocks import ConvBN, SlideMax
from ppsplit.models.coco_names import COCO_NAMES
from ppsplit.models.fold import fold_batch_norm
from ppsplit.paddle_first import paddle
from ppsplit.runtime.lite import LiteRuntime
from ppsplit.runtime.paddle import PaddleRuntime
from tests.models.seeded import random_image, randomise

# one of each architecture; the scales differ in numbers only
NAMES = ["yolo11n", "yolov3_darknet53", "yolov3_tiny", "yolov8n-seg"]


def seeded(name: str, width: float = 0.125) -> paddle.nn.Layer:
    network = build_model(name, num_classes=3, width=width)
    network.eval()
    randomise(network, seed=5)
    return network


def shape_of(output: object) -> tuple:
    return tuple(getattr(output, "shape", ()))  # a head's list has none


def output_shapes(network: paddle.nn.Layer, image: np.ndarray) -> dict:
    """Name of every sublayer to the shape of what it returns."""
    shapes: dict = {}
    for name, layer in network.named_sublayers():
        layer.register_forward_post_hook(lambda _, __, y, name=name: shapes.__setitem__(name, shape_of(y)))
    network(paddle.to_tensor(image))
    return shapes


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "yolov3_tiny",
            {
                "pool1": (1, 16, 208, 208),
                "pool4": (1, 128, 26, 26),
                "conv5": (1, 256, 26, 26),
                "pool5": (1, 256, 13, 13),
                "pool6": (1, 512, 13, 13),
                "conv7": (1, 1024, 13, 13),
                "join": (1, 384, 26, 26),
                "head32": (1, 255, 13, 13),
                "head16": (1, 255, 26, 26),
            },
        ),
        (
            "yolov3_darknet53",
            {
                "stem": (1, 32, 416, 416),
                "stage1.down": (1, 64, 208, 208),
                "stage3.block8": (1, 256, 52, 52),
                "stage4.block8": (1, 512, 26, 26),
                "stage5.block4": (1, 1024, 13, 13),
                "join16": (1, 768, 26, 26),
                "head8": (1, 255, 52, 52),
            },
        ),
        (
            "yolo11n",
            {
                "stage1.down": (1, 32, 104, 104),
                "stage2.down": (1, 64, 52, 52),
                "stage3.block": (1, 128, 26, 26),
                "attention": (1, 256, 13, 13),
                "out32": (1, 256, 13, 13),
                "head.class8": (1, 80, 52, 52),
            },
        ),
        (
            "yolov8n-seg",
            {
                "stage2.down": (1, 64, 52, 52),
                "pyramid": (1, 256, 13, 13),
                "head.mask32": (1, 32, 13, 13),
                "head.prototypes": (1, 32, 104, 104),
            },
        ),
    ],
)
def test_stages_at_416(name, expected):
    network = build_model(name)
    network.eval()
    with paddle.no_grad():
        shapes = output_shapes(network, np.zeros((1, 3, 416, 416), np.float32))
    assert {stage: shapes[stage] for stage in expected} == expected
    assert set(model_family(name).reference_cuts) | {model_family(name).default_cut} <= set(shapes)


def test_families():
    assert len(COCO_NAMES) == len(set(COCO_NAMES)) == 80
    tiny = model_family("yolov3_tiny")
    assert tiny.decode.params["masks"] == [[3, 4, 5], [1, 2, 3]]
    assert tiny.preprocess.input_hw == (416, 416)
    with pytest.raises(ConfigError, match="yolov3_tiny, yolov3_darknet53, yolov3_spp, yolo11, yolo11n"):
        build_model("yolov4")
    with pytest.raises(ConfigError, match="num_classes"):
        build_model("yolov3_tiny", num_classes=0)


def test_the_sliding_pool_hangs_over_right_and_bottom():
    x = -random_image(0, 5, 6)[None] - 1  # all negative: a padding of 0 would win
    found = SlideMax()(paddle.to_tensor(x)).numpy()
    padded = np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=-np.inf)
    expected = np.max([padded[:, :, i : i + 5, j : j + 6] for i in (0, 1) for j in (0, 1)], axis=0)
    assert (found == expected).all()


@pytest.mark.parametrize("name", NAMES)
def test_folding_keeps_the_function_and_the_original(name):
    network = seeded(name)
    before = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    image = paddle.to_tensor(random_image(1, 64, 64)[None])
    folded = fold_batch_norm(network)
    for ours, theirs in zip(folded(image), network(image)):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-5 * float(theirs.abs().max()))
    assert all((network.state_dict()[key].numpy() == value).all() for key, value in before.items())
    assert not any(isinstance(layer, paddle.nn.BatchNorm2D) for layer in folded.sublayers())
    assert all(layer.conv.bias is not None for layer in folded.sublayers() if isinstance(layer, ConvBN))
    again = fold_batch_norm(folded)
    assert [h.numpy().tolist() for h in again(image)] == [h.numpy().tolist() for h in folded(image)]


@pytest.mark.parametrize("name", NAMES)
def test_frozen_it_runs_where_it_will_serve(name, tmp_path):
    """Paddle Inference with oneDNN and Paddle Lite on x86 agree with the layers; the ARM conversion succeeds."""
    network = seeded(name)
    images = np.stack([random_image(seed, 64, 96) for seed in (1, 2, 3)])
    expected = [head.numpy() for head in network(paddle.to_tensor(images))]
    spec = paddle.static.InputSpec([None, 3, 64, 96], "float32", name="image")
    paddle.jit.save(fold_batch_norm(network), str(tmp_path / "m"), input_spec=[spec])
    model, params = tmp_path / "m.pdmodel", tmp_path / "m.pdiparams"

    runtime = PaddleRuntime(model, params)
    for batch in (1, 3):
        check(runtime.run({"image": images[:batch]}), [head[:batch] for head in expected])
    for target in ("x86", "arm"):
        convert_to_nb(tmp_path / "m", tmp_path / f"{target}.nb", target)
    lite = LiteRuntime(tmp_path / "x86.nb")
    for image, *heads in zip(images, *expected):
        check(lite.run({"image": image[None]}), [head[None] for head in heads])


def check(found: dict, expected: list) -> None:
    for ours, theirs in zip(found.values(), expected):
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()
