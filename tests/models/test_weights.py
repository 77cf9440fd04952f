"""Weights of every source into a network, and what does not fit."""

from __future__ import annotations

import dataclasses
import json
import struct

import numpy as np
import pytest

from ppsplit.errors import UnsafePickleError, WeightsError
from ppsplit.image import Preprocess
from ppsplit.models import build_model, class_names_of
from ppsplit.models.archive import HEADER
from ppsplit.models.checkpoint import read_checkpoint, save_checkpoint
from ppsplit.models.coco_names import COCO_NAMES
from ppsplit.models.darknet_cfg import format_cfg
from ppsplit.models.darknet_layout import darknet_sections
from ppsplit.models.darknet_weights import save_darknet_weights
from ppsplit.models.fold import fold_batch_norm
from ppsplit.models.paddledetection import paddledetection_names
from ppsplit.models.weights import CHECKPOINT, kind_of, load_weights
from ppsplit.paddle_first import paddle
from tests.models.seeded import random_image, randomise


def narrow(name: str = "yolov3_tiny", seed: int = 1) -> paddle.nn.Layer:
    network = build_model(name, num_classes=2, width=0.125)
    network.eval()
    randomise(network, seed)
    return network


def heads(network: paddle.nn.Layer) -> list:
    return [head.numpy() for head in network(paddle.to_tensor(random_image(4, 64, 64)[None]))]


def assert_same(a: paddle.nn.Layer, b: paddle.nn.Layer) -> None:
    for ours, theirs in zip(heads(a), heads(b)):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


@pytest.fixture
def weights_file(tmp_path):
    path = tmp_path / "narrow.weights"
    save_darknet_weights(narrow(), path, images_seen=1 << 40)
    return path


def test_darknet_there_and_back(weights_file):
    network = narrow(seed=2)
    loaded = load_weights(network, weights_file)
    assert (loaded.source, loaded.preprocess.resize, len(loaded.sha256)) == ("darknet", "letterbox", 64)
    assert_same(network, narrow())
    assert not list(weights_file.parent.glob("*.partial"))


def test_version_0_1_counts_images_in_32_bits(weights_file):
    data = weights_file.read_bytes()
    weights_file.write_bytes(struct.pack("<iiii", 0, 1, 0, 5) + data[20:])
    network = narrow(seed=2)
    load_weights(network, weights_file)
    assert_same(network, narrow())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data[:-4], "1 floats too short"),
        (lambda data: data[:-400], "100 floats too short"),
        (lambda data: data[:-2], "1 floats too short .and ends in 2 odd bytes"),
        (lambda data: data + b"\0" * 12, "3 floats too long"),
        (lambda data: data + b"\0", "0 floats too long .and ends in 1 odd bytes"),
        (lambda data: data[:20], "floats too short"),
        (lambda data: data[:-4] + struct.pack("<f", float("nan")), "not finite"),
        (lambda data: data[:8], "no known kind"),
        (lambda data: b"", "no known kind"),
        (lambda data: b"\x07" + data[1:], "no known kind"),
    ],
)
def test_damaged_darknet_weights(weights_file, change, says):
    weights_file.write_bytes(change(weights_file.read_bytes()))
    with pytest.raises(WeightsError, match=says):
        load_weights(narrow(), weights_file)


def test_weights_of_another_number_of_classes(weights_file):
    with pytest.raises(WeightsError, match="floats too short.*with 80 classes and width 0.125"):
        load_weights(build_model("yolov3_tiny", width=0.125), weights_file)


def test_a_missing_file(tmp_path):
    with pytest.raises(WeightsError, match="cannot read"):
        load_weights(narrow(), tmp_path / "none.weights")


def test_the_cfg_is_checked_first(weights_file, tmp_path):
    cfg = tmp_path / "narrow.cfg"
    cfg.write_text(format_cfg(darknet_sections(narrow())))
    load_weights(narrow(seed=2), weights_file, cfg)
    cfg.write_text(cfg.read_text().replace("mask=1,2,3", "mask=0,1,2"))
    with pytest.raises(WeightsError, match="known trap"):
        load_weights(narrow(), weights_file, cfg)
    save_checkpoint(narrow(), tmp_path / "c.npz")
    with pytest.raises(WeightsError, match="leave the cfg out"):
        load_weights(narrow(), tmp_path / "c.npz", cfg)


def test_a_folded_network_has_no_darknet_weights(tmp_path):
    with pytest.raises(WeightsError, match="folded"):
        save_darknet_weights(fold_batch_norm(narrow()), tmp_path / "w.weights")


@pytest.mark.parametrize("name", ["yolov3_tiny", "yolov3_darknet53"])
def test_checkpoint_there_and_back(tmp_path, name):
    preprocess = Preprocess((64, 96), resize="stretch", mean=(0.1, 0.2, 0.3))
    save_checkpoint(narrow(name), tmp_path / "c.npz", preprocess)
    network = narrow(name, seed=2)
    loaded = load_weights(network, tmp_path / "c.npz")
    assert (loaded.source, loaded.preprocess) == ("checkpoint", preprocess)
    rebuilt = read_checkpoint(tmp_path / "c.npz").build()
    for candidate in (network, rebuilt):
        for key, tensor in narrow(name).state_dict().items():
            assert (candidate.state_dict()[key].numpy() == tensor.numpy()).all()


def test_class_names_go_with_a_checkpoint(tmp_path):
    network, path = narrow(), tmp_path / "c.npz"
    save_checkpoint(network, path)
    assert read_checkpoint(path).class_names == class_names_of(network) == ()  # 2 classes that nobody named
    network.class_names = ("cat", "größter Hund")
    save_checkpoint(network, path)
    rebuilt, filled = read_checkpoint(path).build(), narrow(seed=2)
    load_weights(filled, path)
    assert [class_names_of(n) for n in (rebuilt, filled)] == [("cat", "größter Hund")] * 2
    save_checkpoint(rebuilt, path)
    assert read_checkpoint(path).class_names == ("cat", "größter Hund")


@pytest.mark.parametrize(("classes", "names"), [(80, COCO_NAMES), (2, ())])
def test_a_checkpoint_of_before_class_names_were_kept(tmp_path, classes, names):
    path = tmp_path / "c.npz"
    save_checkpoint(build_model("yolov3_tiny", classes, 0.125), path)
    values = json.loads(np.load(path)[HEADER].tobytes().decode())
    assert tuple(values.pop("class_names")) == names
    rewritten(path, lambda arrays: arrays.update({HEADER: header(**values)}))
    assert read_checkpoint(path).class_names == ()
    assert class_names_of(read_checkpoint(path).build()) == names


@pytest.mark.parametrize("names", [["cat"], ["cat", 3], "ab", {"cat": 1}, None], ids=str)
def test_class_names_that_are_not_the_classes(tmp_path, names):
    path = tmp_path / "c.npz"
    save_checkpoint(narrow(), path)
    values = json.loads(np.load(path)[HEADER].tobytes().decode())
    rewritten(path, lambda arrays: arrays.update({HEADER: header(**{**values, "class_names": names})}))
    with pytest.raises(WeightsError, match="header of .* is damaged .*class_names are not 2 texts"):
        read_checkpoint(path)


def test_a_checkpoint_with_other_anchors_is_refused(tmp_path):
    save_checkpoint(narrow(), tmp_path / "c.npz")
    network = narrow()
    network.params = dataclasses.replace(network.params, masks=((3, 4, 5), (0, 1, 2)))
    with pytest.raises(WeightsError, match="same parameters"):
        load_weights(network, tmp_path / "c.npz")


def rewritten(path, change) -> None:
    """Apply `change` to the arrays of an .npz."""
    with np.load(path) as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(path, **arrays)


def header(**values) -> np.ndarray:
    return np.frombuffer(json.dumps(values).encode(), np.uint8)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda arrays: arrays.pop("conv1.conv.weight"), "1 missing: conv1.conv.weight"),
        (lambda arrays: arrays.update(extra=np.zeros(1, np.float32)), "1 left over: extra"),
        (lambda arrays: arrays.update({"conv1.bn.bias": np.zeros(5, np.float32)}), r"conv1.bn.bias \[5\] instead of"),
        (lambda arrays: arrays.update({"conv1.bn.bias": np.zeros(4, np.int32)}), "not floats: conv1.bn.bias"),
        (lambda arrays: arrays.update({"conv1.bn.bias": np.full(4, np.nan, "f4")}), "not finite: conv1.bn.bias"),
        (lambda arrays: arrays.pop(HEADER), "not a ppsplit-checkpoint"),
        (lambda arrays: arrays.update({HEADER: header(format="x")}), "not a ppsplit-checkpoint"),
        (
            lambda arrays: arrays.update({HEADER: header(format="ppsplit-checkpoint", format_version=9)}),
            "version 9",
        ),
        (
            lambda arrays: arrays.update({HEADER: header(format="ppsplit-checkpoint", format_version=1, model="x")}),
            "damaged",
        ),
    ],
)
def test_damaged_checkpoints(tmp_path, change, says):
    path = tmp_path / "c.npz"
    save_checkpoint(narrow(), path)
    rewritten(path, change)
    with pytest.raises(WeightsError, match=says):
        load_weights(narrow(), path)


def test_a_checkpoint_with_a_pickle_inside_or_cut_short(tmp_path):
    path = tmp_path / "c.npz"
    np.savez(path, a=np.array([{"an": "object"}], object))
    with pytest.raises(WeightsError, match="damaged or not an .npz"):
        load_weights(narrow(), path)
    save_checkpoint(narrow(), path)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(WeightsError, match="ends too early"):
        load_weights(narrow(), path)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_state_dict_saved_by_paddle(tmp_path, protocol):
    path = tmp_path / "own.pdparams"
    paddle.save(narrow().state_dict(), str(path), protocol=protocol)
    network = narrow(seed=2)
    assert load_weights(network, path).source == "state_dict"
    assert_same(network, narrow())


def test_paddledetection_names_cover_the_network():
    names = paddledetection_names()
    assert len(names) == len(set(names.values())) == 366
    assert set(names.values()) == set(build_model("yolov3_darknet53", width=0.1).state_dict())
    assert names["backbone.stage.2.stage.2.7.conv2.batch_norm._mean"] == "stage3.block8.expand.bn._mean"
    assert names["backbone.stage.2.downsample.conv_bn_layer.conv.weight"] == "stage4.down.conv.weight"
    assert names["neck.yolo_block.1.conv_module.route.conv.weight"] == "neck16.conv5.conv.weight"
    assert names["yolo_head.yolo_output.2.bias"] == "head8.conv.bias"


def test_a_paddledetection_checkpoint(tmp_path):
    path = tmp_path / "yolov3_darknet53_270e_coco.pdparams"
    state = narrow("yolov3_darknet53").state_dict()
    theirs = {name: state[ours] for name, ours in paddledetection_names().items()}
    paddle.save(theirs, str(path))
    network = narrow("yolov3_darknet53", seed=2)
    loaded = load_weights(network, path)
    assert (loaded.source, loaded.preprocess.resize) == ("paddledetection", "stretch")
    assert loaded.preprocess.mean == (0.485, 0.456, 0.406)
    assert_same(network, narrow("yolov3_darknet53"))

    del theirs["backbone.conv0.conv.weight"]
    theirs["neck.other.weight"] = theirs["yolo_head.yolo_output.2.bias"]
    paddle.save(theirs, str(path))
    with pytest.raises(WeightsError, match="1 missing: stem.conv.weight; 1 left over: neck.other.weight"):
        load_weights(network, path)


def test_a_hostile_pdparams_is_refused(tmp_path):
    path = tmp_path / "h.pdparams"
    path.write_bytes(b"\x80\x02cbuiltins\nprint\nX\x08\0\0\0executed\x85R.")  # print("executed"), by hand
    with pytest.raises(UnsafePickleError, match=r"builtins\.print"):
        load_weights(narrow(), path)


@pytest.mark.parametrize("suffix", [".pt", ".npz"])
def test_a_zip_that_was_cut_off_is_not_taken_for_another_kind(tmp_path, suffix):
    whole, half = tmp_path / f"whole{suffix}", tmp_path / f"half{suffix}"
    np.savez(whole.open("wb"), weights=np.zeros(1000))
    half.write_bytes(whole.read_bytes()[:4000])
    with pytest.raises(WeightsError, match="ends too early; fetch or copy it again"):
        kind_of(half)
    assert kind_of(whole) == CHECKPOINT
