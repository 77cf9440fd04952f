"""YOLO11 and YOLOv8: the published sizes, and Ultralytics' checkpoints by structure."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest

from ppsplit.cli import main
from ppsplit.decode import FAMILIES
from ppsplit.errors import ConfigError, WeightsError
from ppsplit.models import MODELS, model_family
from ppsplit.models.checkpoint import read_checkpoint, save_checkpoint
from ppsplit.models.ultralytics import fill_network, our_name, params_of_file
from ppsplit.models.weights import load_network, load_weights
from ppsplit.models.yolo_blocks import ConvSilu
from ppsplit.models.yolo_params import BINS
from ppsplit.paddle_first import paddle
from ppsplit.zoo.weight_file import WeightFile, read_weight_file
from tests.models.seeded import random_image
from tests.zoo.torch_files import Model

SHARED = Path(__file__).resolve().parents[3] / "shared" / "weights"

# trainable numbers, as the published configurations say; the 16 values of the bins, which are fixed, count there
PUBLISHED = {
    "yolo11n": 2_624_080,
    "yolo11s": 9_458_752,
    "yolo11m": 20_114_688,
    "yolo11l": 25_372_160,
    "yolo11x": 56_966_176,
    "yolov8n": 3_157_200,
    "yolov8s": 11_166_560,
    "yolov8m": 25_902_640,
    "yolov8l": 43_691_520,
    "yolov8x": 68_229_648,
    "yolov8n-seg": 3_409_968,
}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_as_many_parameters_as_published(name):
    network = model_family(name).build(model_family(name).params)
    assert network.model_name == name
    assert sum(p.size for p in network.parameters() if not p.stop_gradient) + BINS == PUBLISHED[name]


def checkpoint(name: str, seed: int = 0) -> Dict[str, np.ndarray]:
    """Random tensors under Ultralytics' names, for all that the network has."""
    network = model_family(name).build(model_family(name).params)
    head, random = len(network.checkpoint_layers) - 1, np.random.RandomState(seed)
    state = network.state_dict()
    tensors: Dict[str, np.ndarray] = {
        f"model.{head}.dfl.conv.weight": np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1)
    }
    for ours, tensor in state.items():
        theirs = their_name(network, ours)
        assert our_name(network, theirs) == ours
        values = random.uniform(0.5, 1, tensor.shape) if "bn." in ours else random.normal(0, 0.1, tensor.shape)
        tensors[theirs] = values.astype(np.float32)
        if theirs.endswith("running_var"):
            tensors[theirs.replace("running_var", "num_batches_tracked")] = np.int64(3)
    return tensors


def their_name(network: Any, ours: str) -> str:
    """The way back, by hand: not by the table that is tested."""
    leaves = {"_mean": "running_mean", "_variance": "running_var"}
    layer = max((layer for layer in network.checkpoint_layers if layer and ours.startswith(f"{layer}.")), key=len)
    number, rest = network.checkpoint_layers.index(layer), ours[len(layer) + 1 :]
    if layer == "head":
        branch, _, inner = rest.partition(".")
        levels = {"8": 0, "16": 1, "32": 2}
        for kind, code in (("box", "cv2"), ("class", "cv3"), ("mask", "cv4")):
            if branch.startswith(kind):
                rest = f"{code}.{levels[branch[len(kind) :]]}.{inner}"
        rest = rest.replace("prototypes.", "proto.")
    path, _, leaf = rest.rpartition(".")
    return ".".join(part for part in (f"model.{number}", path, leaves.get(leaf, leaf)) if part)


@pytest.fixture(scope="module")
def yolo11s() -> Dict[str, np.ndarray]:
    return checkpoint("yolo11s")


def write(tmp_path: Path, tensors: Dict[str, np.ndarray]) -> Path:
    model = Model()
    return model.write_zip(tmp_path / "net.pt", {name: model.tensor(array) for name, array in tensors.items()})


def test_the_scale_and_the_classes_are_found_and_every_tensor_lands(yolo11s, tmp_path):
    path = write(tmp_path, yolo11s)
    network, preprocess = load_network("yolo11", path)
    assert (network.model_name, network.params.num_classes) == ("yolo11s", 80)
    assert (preprocess.input_hw, preprocess.pad_pixel) == ((640, 640), 114)
    state = network.state_dict()
    for theirs, array in yolo11s.items():
        if "num_batches" not in theirs and "dfl" not in theirs:
            ours = our_name(network, theirs)
            assert ours is not None and (state[ours].numpy() == array).all()
    with pytest.raises(WeightsError, match="is a yolo11s, not a yolo11n; say --model yolo11s"):
        load_network("yolo11n", path)
    with pytest.raises(WeightsError, match="is no yolov8"):
        load_network("yolov8", path)
    with pytest.raises(WeightsError, match="none is known for yolov3_tiny"):
        load_network("yolov3_tiny", path)


def test_missing_and_left_over_tensors_are_listed(yolo11s):
    family = model_family("yolo11s")
    network = family.build(family.params)
    before = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    less = {name: array for name, array in yolo11s.items() if name != "model.10.m.0.attn.pe.conv.weight"}
    with pytest.raises(WeightsError, match=r"1 missing: attention\.m\.0\.attn\.pe\.conv\.weight"):
        fill_network(network, WeightFile(less), "x.pt")
    more = {**yolo11s, "model.11.weight": np.zeros(1, np.float32), "model.24.x": np.zeros(1, np.float32)}
    with pytest.raises(WeightsError, match=r"2 left over: model\.11\.weight, model\.24\.x"):
        fill_network(network, WeightFile(more), "x.pt")
    bins = {**yolo11s, "model.23.dfl.conv.weight": np.zeros((1, 16, 1, 1), np.float32)}
    with pytest.raises(WeightsError, match="other values"):
        fill_network(network, WeightFile(bins), "x.pt")
    assert all((network.state_dict()[name].numpy() == array).all() for name, array in before.items())


def test_shapes_of_no_scale_and_of_masks(yolo11s):
    family = model_family("yolo11")
    odd = {**yolo11s, "model.0.conv.weight": np.zeros((24, 3, 3, 3), np.float32)}
    with pytest.raises(WeightsError, match="of a known scale: its first layer has 24 channels"):
        params_of_file(family, WeightFile(odd), "x.pt")
    seg = model_family("yolov8n-seg")
    tensors = {
        "model.0.conv.weight": np.zeros((16, 3, 3, 3)),
        "model.2.m.0.cv1.conv.weight": np.zeros(1),
        "model.22.cv3.0.2.weight": np.zeros((7, 64, 1, 1)),
        "model.22.cv4.0.2.weight": np.zeros((32, 32, 1, 1)),
    }
    found = params_of_file(seg, WeightFile(tensors), "x.pt")
    assert found == dataclasses.replace(seg.params, num_classes=7)
    with pytest.raises(WeightsError, match="is a yolov8n-seg, not a yolov8n; say --model yolov8n-seg"):
        params_of_file(model_family("yolov8n"), WeightFile(tensors), "x.pt")


def test_another_epsilon_is_carried_by_the_scales(yolo11s):
    family = model_family("yolo11s")
    image = paddle.to_tensor(random_image(0, 64, 64)[None])
    plain, mended = family.build(family.params), family.build(family.params)
    tensors = {**yolo11s, "model.0.bn.running_var": np.full(32, 0.01, np.float32)}
    fill_network(plain, WeightFile(tensors), "x.pt")
    fill_network(mended, WeightFile(tensors, {"model.0.bn.eps": 0.1}), "x.pt")
    plain.eval()
    mended.eval()
    plain.stem.bn._epsilon = 0.1
    assert ConvSilu.epsilon == mended.stem.bn._epsilon == 1e-3
    np.testing.assert_allclose(mended.stem(image).numpy(), plain.stem(image).numpy(), rtol=1e-4, atol=1e-5)


def test_class_names_come_along_and_a_checkpoint_of_ours_keeps_all(tmp_path):
    family = model_family("yolov8n-seg")
    params = dataclasses.replace(family.params, num_classes=2, width=0.25)
    network = family.build(params)
    network.class_names = ("cat", "dog")
    save_checkpoint(network, tmp_path / "a.npz")
    assert read_checkpoint(tmp_path / "a.npz").params == params
    again, preprocess = load_network("yolov8n-seg", tmp_path / "a.npz")
    assert again.class_names == ("cat", "dog") and preprocess == family.preprocess
    again.eval()
    network.eval()
    image = paddle.to_tensor(random_image(0, 64, 64)[None])
    assert [o.shape for o in again(image)] == [[1, 98, 8, 8], [1, 98, 4, 4], [1, 98, 2, 2], [1, 32, 16, 16]]
    for ours, theirs in zip(again(image), network(image)):
        assert (ours.numpy() == theirs.numpy()).all()


@pytest.mark.parametrize("name", ["yolo11n", "yolov8n-seg"])
def test_published_weights(name):
    path = SHARED / f"{name}.pt"
    if not path.is_file():
        pytest.skip(f"{path.name} is not on this machine")
    network, _ = load_network(name.replace("n", "", 1), path)
    assert network.model_name == name and network.class_names[0] == "person" and len(network.class_names) == 80
    stem = read_weight_file(path).arrays["model.0.conv.weight"]
    assert (network.stem.conv.weight.numpy() == stem.astype(np.float32)).all()
    again = model_family(name).build(model_family(name).params)
    assert load_weights(again, path).source == "torch"


@pytest.mark.parametrize("verb", ["train", "train-prune"])
@pytest.mark.parametrize("model", ["yolo11n", "yolov8-seg"])
def test_training_is_refused_in_one_sentence(verb, model, capsys):
    assert main([verb, "--model", model]) == 1
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0 and f"{model} cannot be trained or pruned here" in said


def test_every_family_is_complete():
    for name, family in MODELS.items():
        assert family.name == name and family.decode.family in FAMILIES
        assert family.default_cut in family.reference_cuts
    with pytest.raises(ConfigError, match="scale must be one of n, s, m, l, x"):
        dataclasses.replace(model_family("yolo11").params, scale="xl")
