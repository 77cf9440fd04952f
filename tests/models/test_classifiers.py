"""The classifiers against their papers' figures, torchvision's and Paddle's own networks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest

from ppsplit.errors import ConfigError, WeightsError
from ppsplit.export.freeze import trace
from ppsplit.models import CLASSIFIERS, build_model, class_names_of, model_family
from ppsplit.models.checkpoint import read_checkpoint, save_checkpoint
from ppsplit.models.fold import fold_batch_norm
from ppsplit.models.foreign_layers import fill_from_torch
from ppsplit.models.imagenet_names import IMAGENET_NAMES
from ppsplit.models.resnet import ResNetParams
from ppsplit.models.weights import load_network, load_weights
from ppsplit.paddle_first import paddle
from ppsplit.zoo.weight_file import WeightFile
from tests.models.seeded import random_image, randomise
from tests.models.torchvision_golden import CLASSES, GOLDEN, seeded_arrays, seeded_image

NAMES = [family.name for family in CLASSIFIERS]
# parameters that are learnt, and multiply-accumulates at 224x224: torchvision's tables, the papers'
PUBLISHED = {
    "resnet18": (11_689_512, 1.814e9),
    "resnet50": (25_557_032, 4.089e9),
    "resnext50_32x4d": (25_028_904, 4.230e9),
    "mobilenet_v1": (4_231_976, 0.569e9),
    "mobilenet_v2": (3_504_872, 0.301e9),
    "mnasnet1_0": (4_383_312, 0.314e9),
    "googlenet": (6_624_904, 1.498e9),
    "efficientnet_lite0": (4_652_008, 0.385e9),
}


@pytest.fixture(scope="module")
def torchvision() -> Dict[str, Any]:
    values: Dict[str, Any] = json.loads(GOLDEN.read_text())
    return values


def narrow(name: str, seed: int = 1, classes: int = 3) -> paddle.nn.Layer:
    network = build_model(name, num_classes=classes, width=0.125)
    network.eval()
    randomise(network, seed)
    return network


def logits(network: paddle.nn.Layer, image: np.ndarray) -> np.ndarray:
    with paddle.no_grad():
        return network(paddle.to_tensor(image))[0].numpy()


@pytest.mark.parametrize("name", NAMES)
def test_as_many_parameters_and_macs_as_published(name: str, tmp_path: Path) -> None:
    network = build_model(name, num_classes=1000)
    state = network.state_dict()
    learnt = sum(int(tensor.size) for key, tensor in state.items() if not key.endswith(("._mean", "._variance")))
    program, stages = trace(fold_batch_norm(network), (224, 224), tmp_path)
    parameters, macs = PUBLISHED[name]
    assert learnt == parameters
    assert program.graph().macs == pytest.approx(macs, rel=1e-3, abs=0.5e6)  # tables have three decimals of a GMAC
    family = model_family(name)
    assert {family.default_cut, *family.reference_cuts} <= set(stages)


@pytest.mark.parametrize("name", json.loads(GOLDEN.read_text()))
def test_computes_what_torchvision_computes(name: str, torchvision: Dict[str, Any]) -> None:
    family, golden = model_family(name), torchvision[name]
    network = family.build(dataclasses.replace(family.params, num_classes=CLASSES))
    network.eval()
    fill_from_torch(network, WeightFile(seeded_arrays(golden["shapes"])), name)
    error = np.abs(logits(network, seeded_image())[0] - golden["logits"]).max()
    assert error < 1e-5 * np.abs(golden["logits"]).max()


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "mobilenet_v1", "mobilenet_v2"])
def test_computes_what_paddles_own_network_computes(name: str, tmp_path: Path) -> None:
    paddle.seed(3)
    theirs = getattr(paddle.vision.models, name)(num_classes=7)
    theirs.eval()
    for layer in theirs.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            for tensor in (layer._mean, layer._variance):
                tensor.set_value(tensor + 0.2 * paddle.rand(tensor.shape))
    paddle.save(theirs.state_dict(), str(tmp_path / "theirs.pdparams"))
    network, preprocess = load_network(name, tmp_path / "theirs.pdparams")
    network.eval()
    image = random_image(2, 64, 96)[None]
    expected = theirs(paddle.to_tensor(image)).numpy()
    assert network.params.num_classes == 7 and class_names_of(network) == ()
    assert (preprocess.resize, preprocess.crop_share) == ("crop", 0.875)
    np.testing.assert_allclose(logits(network, image), expected, atol=1e-5 * np.abs(expected).max())


def test_what_is_missing_or_left_over_is_listed(torchvision: Dict[str, Any]) -> None:
    shapes = dict(torchvision["resnet18"]["shapes"])
    del shapes["layer2.0.downsample.0.weight"]
    shapes["layer9.0.conv1.weight"] = [4, 4, 3, 3]
    network = build_model("resnet18", num_classes=CLASSES)
    before = logits(network, seeded_image())
    with pytest.raises(
        WeightsError, match=r"1 missing: stage2.block1.shortcut.conv.weight; 1 left over: layer9.0.conv1"
    ):
        fill_from_torch(network, WeightFile(seeded_arrays(shapes)), "resnet18.pth")
    assert (logits(network, seeded_image()) == before).all()


def test_what_only_training_needs_is_left_out(torchvision: Dict[str, Any]) -> None:
    arrays = seeded_arrays(torchvision["googlenet"]["shapes"])
    arrays["aux1.fc1.weight"] = np.zeros((1024, 2048), np.float32)
    arrays["conv1.bn.num_batches_tracked"] = np.zeros((), np.int64)
    fill_from_torch(build_model("googlenet", num_classes=CLASSES), WeightFile(arrays), "googlenet.pth")


def test_paddles_googlenet_is_another_network(tmp_path: Path) -> None:
    paddle.save(paddle.vision.models.googlenet(num_classes=5).state_dict(), str(tmp_path / "theirs.pdparams"))
    with pytest.raises(WeightsError, match="is no googlenet: it has no fc.bias"):
        load_network("googlenet", tmp_path / "theirs.pdparams")


@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_and_state_dicts_there_and_back(name: str, tmp_path: Path) -> None:
    network = narrow(name)
    expected = logits(network, random_image(4, 64, 64)[None])
    save_checkpoint(network, tmp_path / "own.npz")
    paddle.save(network.state_dict(), str(tmp_path / "own.pdparams"))
    again = read_checkpoint(tmp_path / "own.npz").build()
    other = narrow(name, seed=2)
    assert load_weights(other, tmp_path / "own.pdparams").source == "paddle"
    for copy in (again, other):
        copy.eval()
        np.testing.assert_array_equal(logits(copy, random_image(4, 64, 64)[None]), expected)


@pytest.mark.parametrize("name", NAMES)
def test_folding_keeps_the_function(name: str) -> None:
    network = narrow(name)
    image = random_image(1, 64, 96)[None]
    folded, expected = fold_batch_norm(network), logits(network, image)
    assert not any(isinstance(layer, paddle.nn.BatchNorm2D) for layer in folded.sublayers())
    np.testing.assert_allclose(logits(folded, image), expected, atol=1e-5 * np.abs(expected).max())


def test_families() -> None:
    assert len(IMAGENET_NAMES) == len(set(IMAGENET_NAMES)) == 1000
    assert (IMAGENET_NAMES[0], IMAGENET_NAMES[207], IMAGENET_NAMES[999]) == (
        *("tench", "golden retriever"),
        "toilet tissue",
    )
    for name in NAMES:
        family = model_family(name)
        assert family.decode.family == "classify" and class_names_of(family.build(family.params)) == IMAGENET_NAMES
        with pytest.raises(ConfigError, match="cannot be trained"):
            family.check_trainable()
    with pytest.raises(ConfigError, match="arch must be one of"):
        ResNetParams(arch="resnet51")
