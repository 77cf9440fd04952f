"""A backbone from every kind of file, made for whatever else; and what is refused."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Dict, List

import numpy as np
import pytest

from ppsplit.errors import WeightsError
from ppsplit.image import Preprocess
from ppsplit.models import build_model
from ppsplit.models.backbone import load_backbone
from ppsplit.models.blocks import conv_layers
from ppsplit.models.checkpoint import save_checkpoint
from ppsplit.models.darknet_weights import save_darknet_weights
from ppsplit.models.paddledetection import IMAGENET_MEAN, backbone_names, paddledetection_names
from ppsplit.paddle_first import paddle
from tests.models.seeded import randomise

WIDTH = 0.125
REST = {
    "yolov3_tiny": "neck, head32_conv, head32, lateral, head16_conv, head16",
    "yolov3_darknet53": "neck32, head32_conv, head32, lateral16, neck16, head16_conv, head16, "
    "lateral8, neck8, head8_conv, head8",
}
STAGES = {
    "yolov3_tiny": "conv1, conv2, conv3, conv4, conv5, conv6, conv7",
    "yolov3_darknet53": "stem, stage1, stage2, stage3, stage4, stage5",
}
MODELS = list(REST)


def narrow(name: str = "yolov3_tiny", seed: int = 1, classes: int = 2) -> paddle.nn.Layer:
    network = build_model(name, num_classes=classes, width=WIDTH)
    network.eval()
    randomise(network, seed)
    return network


def state(network: paddle.nn.Layer) -> Dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def check(network: paddle.nn.Layer, before: Dict[str, np.ndarray], source: paddle.nn.Layer, stages: List[str]) -> None:
    """The stages are the source's, everything else is as it was."""
    theirs = state(source)
    for name, array in state(network).items():
        wanted = theirs if name.partition(".")[0] in stages else before
        np.testing.assert_allclose(array, wanted[name], rtol=1e-5, err_msg=name)


def loaded_as(path: Path, name: str, source: paddle.nn.Layer) -> Preprocess:
    """Load `path` into a network of 4 classes and check that its backbone alone is the source's."""
    network = narrow(name, seed=2, classes=4)
    before = state(network)
    loaded = load_backbone(network, path)
    assert loaded.note() == f"loaded {STAGES[name]}; begun afresh {REST[name]}"
    check(network, before, source, STAGES[name].split(", "))
    return loaded.preprocess


@pytest.mark.parametrize("name", MODELS)
def test_of_a_whole_network_with_other_classes(name: str, tmp_path: Path) -> None:
    source = narrow(name, classes=7)
    save_darknet_weights(source, tmp_path / "whole.weights")
    save_checkpoint(source, tmp_path / "whole.npz", Preprocess((64, 64), mean=(0.1, 0.2, 0.3)))
    paddle.save(source.state_dict(), str(tmp_path / "whole.pdparams"))
    assert loaded_as(tmp_path / "whole.weights", name, source).mean == (0.0, 0.0, 0.0)
    assert loaded_as(tmp_path / "whole.npz", name, source).mean == (0.1, 0.2, 0.3)
    assert loaded_as(tmp_path / "whole.pdparams", name, source).mean == (0.0, 0.0, 0.0)


def partial_file(source: paddle.nn.Layer, count: int, path: Path, more: int = 0) -> Path:
    """As darknet's `partial` leaves it: the first `count` convolutions; and floats behind them."""
    save_darknet_weights(source, path)
    floats = sum(
        int(np.prod(tensor.shape))
        for layer in conv_layers(source)[:count]
        for tensor in (layer.conv.weight, *(layer.bn.state_dict().values()))
    )
    path.write_bytes(path.read_bytes()[: 20 + 4 * floats] + b"\0" * 4 * more)
    return path


def test_of_darknet53_conv_74(tmp_path: Path) -> None:
    source = narrow("yolov3_darknet53")
    loaded_as(partial_file(source, 52, tmp_path / "darknet53.conv.74"), "yolov3_darknet53", source)


def test_the_backbone_is_as_long_as_the_published_file() -> None:
    network = build_model("yolov3_darknet53")
    layers = conv_layers(network)[:52]
    floats = sum(int(tensor.size) for layer in layers for tensor in layer.state_dict().values())
    assert 20 + 4 * floats == 162_482_580  # darknet53.conv.74, as servers announce it


def test_of_darknets_imagenet_classifier(tmp_path: Path) -> None:
    source = narrow("yolov3_darknet53")
    classifier = 1000 * (1 + 1024 * WIDTH)
    path = partial_file(source, 52, tmp_path / "darknet53.weights", int(classifier))
    loaded_as(path, "yolov3_darknet53", source)


@pytest.mark.parametrize(
    ("name", "count", "note"),
    [
        ("yolov3_tiny", 1, "loaded conv1; begun afresh conv2, conv3"),
        ("yolov3_tiny", 9, "loaded conv1, conv2, conv3, conv4, conv5, conv6, conv7, neck, head32_conv; begun afresh"),
        ("yolov3_darknet53", 5, "loaded stem, stage1, stage2 (1 of 5 convolutions); begun afresh stage2 (4 of 5"),
    ],
    ids=["one", "yolov3-tiny.conv.15", "within a stage"],
)
def test_a_file_that_ends_early_gives_all_it_has(name: str, count: int, note: str, tmp_path: Path) -> None:
    source, network = narrow(name), narrow(name, seed=2, classes=4)
    before = state(network)
    loaded = load_backbone(network, partial_file(source, count, tmp_path / "early.weights"))
    assert loaded.note().startswith(note)
    assert len(loaded.loaded) == count and len(loaded.fresh) == len(conv_layers(network)) - count
    theirs = state(source)
    for tensor, array in state(network).items():
        wanted = theirs if tensor.startswith(tuple(f"{layer}." for layer in loaded.loaded)) else before
        np.testing.assert_allclose(array, wanted[tensor], rtol=1e-5, err_msg=tensor)


def test_of_paddledetection_and_of_paddleclas(tmp_path: Path) -> None:
    source = narrow("yolov3_darknet53")
    ours = source.state_dict()
    paddleclas = {theirs: ours[name] for theirs, name in backbone_names().items() if theirs.startswith("_")}
    alone = {theirs: ours[name] for theirs, name in backbone_names().items() if not theirs.startswith("_")}
    files = {"detector": {theirs: ours[name] for theirs, name in paddledetection_names().items()}, "alone": alone}
    files["imagenet"] = {**paddleclas, "_out.weight": paddle.zeros([128, 1000]), "_out.bias": paddle.zeros([1000])}
    assert len(paddleclas) == len(alone) == 52 * 5
    assert {"_conv1._conv.weight", "_basic_block_28._conv2._bn._mean", "_downsample_3._bn.bias"} <= set(paddleclas)
    for name, arrays in files.items():
        paddle.save(arrays, str(tmp_path / f"{name}.pdparams"))
        preprocess = loaded_as(tmp_path / f"{name}.pdparams", "yolov3_darknet53", source)
        assert (preprocess.mean, preprocess.resize) == (IMAGENET_MEAN, "letterbox")


def test_what_a_file_has_is_taken_and_the_rest_left(tmp_path: Path) -> None:
    source, network = narrow(), narrow(seed=2)
    before, arrays = state(network), state(source)
    del arrays["conv3.bn._mean"]  # half a convolution is none
    arrays["conv5.conv.weight"] = np.zeros((1, 1, 1, 1), np.float32)
    paddle.save({name: paddle.to_tensor(array) for name, array in arrays.items()}, str(tmp_path / "some.pdparams"))
    note = load_backbone(network, tmp_path / "some.pdparams").note()
    assert note == f"loaded conv1, conv2, conv4, conv6, conv7; begun afresh conv3, conv5, {REST['yolov3_tiny']}"
    check(network, before, source, ["conv1", "conv2", "conv4", "conv6", "conv7"])


@pytest.mark.parametrize("change", [4, -4, 2, 400, -400], ids=str)
def test_a_darknet_file_of_another_length_is_refused(change: int, tmp_path: Path) -> None:
    path = partial_file(narrow(), 7, tmp_path / "early.weights")
    data = path.read_bytes()
    path.write_bytes(data + b"\0" * change if change > 0 else data[:change])
    network = narrow(seed=2)
    before = state(network)
    with pytest.raises(WeightsError, match="no beginning of yolov3_tiny of width 0.125.*give weights of this network"):
        load_backbone(network, path)
    check(network, before, network, [])


def test_what_does_not_fit_or_is_damaged_is_refused(tmp_path: Path) -> None:
    save_checkpoint(narrow(), tmp_path / "tiny.npz")
    with pytest.raises(WeightsError, match=r"nothing of .*tiny.npz fits .*stem.conv.weight \[4, 3, 3, 3\].*conv1"):
        load_backbone(narrow("yolov3_darknet53"), tmp_path / "tiny.npz")
    with pytest.raises(WeightsError, match="nothing of"):
        load_backbone(build_model("yolov3_tiny", 2, 0.5), tmp_path / "tiny.npz")
    path = partial_file(narrow(), 7, tmp_path / "nan.weights")
    path.write_bytes(path.read_bytes()[:-4] + struct.pack("<f", float("nan")))
    with pytest.raises(WeightsError, match="not finite"):
        load_backbone(narrow(), path)
    data, variance = partial_file(narrow(), 7, path).read_bytes(), 20 + 4 * 3 * 4  # behind 4 biases, scales and means
    path.write_bytes(data[:variance] + struct.pack("<f", -1.0) + data[variance + 4 :])
    with pytest.raises(WeightsError, match="negative variance"):
        load_backbone(narrow(), path)
    (tmp_path / "text").write_text("hello, this is no weight file")
    with pytest.raises(WeightsError, match="no known kind"):
        load_backbone(narrow(), tmp_path / "text")
    with pytest.raises(WeightsError, match="cannot read"):
        load_backbone(narrow(), tmp_path / "gone")
