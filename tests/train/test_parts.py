"""The averaged network, the saved state, the logs and the settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ppsplit.cli.options import parse
from ppsplit.errors import ConfigError, TrainingError, WeightsError
from ppsplit.models.assign import assign_tensors
from ppsplit.models.checkpoint import save_checkpoint
from ppsplit.models.narrow import check_channels, narrow_to
from ppsplit.paddle_first import paddle
from ppsplit.train.config import TrainConfig
from ppsplit.train.ema import AveragedNetwork
from ppsplit.train.log import CsvLog, read_log
from ppsplit.train.setup import backbone_network, fresh_network, pretrained_network
from ppsplit.train.state import Learner, Position
from ppsplit.train.sync_bn import SharedBatchNorm2D


def small(seed: int = 0, classes: int = 4) -> paddle.nn.Layer:
    return fresh_network("yolov3_tiny", classes, 0.1, seed)


def test_the_average_follows_the_weights() -> None:
    network = small()
    average = AveragedNetwork(network, 0.5)
    before = network.conv1.conv.weight.numpy()
    network.conv1.conv.weight.set_value(before + 1)
    average.update(network, 1000)
    np.testing.assert_allclose(average.network.conv1.conv.weight.numpy(), before + 0.5, atol=1e-6)
    average.update(network, 0)  # early on the decay is 0.1
    np.testing.assert_allclose(average.network.conv1.conv.weight.numpy(), before + 0.95, atol=1e-6)


def learner(seed: int = 0) -> Learner:
    network = small(seed)
    optimizer = paddle.optimizer.Momentum(0.01, 0.9, parameters=network.parameters())
    return Learner(network, AveragedNetwork(network, 0.9).network, optimizer)


def learn(one: Learner) -> None:
    x = paddle.to_tensor(np.random.default_rng(0).random((2, 3, 64, 64), np.float32))
    sum(head.square().mean() for head in one.network(x)).backward()
    one.optimizer.step()
    one.optimizer.clear_grad()


def test_a_restored_learner_goes_on_the_same(tmp_path: Path) -> None:
    first, second = learner(0), learner(1)
    learn(first)
    first.save(tmp_path / "last.npz", Position(1, 2, 3, 0.4), {"lr": 0.1, "sizes": (64, 96)})
    assert second.restore(tmp_path / "last.npz", {"lr": 0.1, "sizes": (64, 96)}) == Position(1, 2, 3, 0.4)
    learn(first)
    learn(second)
    for a, b in ((first.network, second.network), (first.averaged, second.averaged)):
        for name, tensor in a.state_dict().items():
            np.testing.assert_array_equal(tensor.numpy(), b.state_dict()[name].numpy(), err_msg=name)


def test_another_training_is_not_resumed(tmp_path: Path) -> None:
    learner().save(tmp_path / "last.npz", Position(), {"lr": 0.1})
    with pytest.raises(TrainingError, match="lr was 0.1, now 0.2"):
        learner().restore(tmp_path / "last.npz", {"lr": 0.2})


def test_damaged_states_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.npz"
    learner().save(path, Position(), {})
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"x" + whole[1:]):
        path.write_bytes(damaged)
        with pytest.raises(TrainingError, match="learnt again"):
            learner().restore(path, {})
    save_checkpoint(small(), path)
    with pytest.raises(TrainingError, match="not a ppsplit-training"):
        learner().restore(path, {})


def test_a_log_forgets_what_comes_after_the_checkpoint(tmp_path: Path) -> None:
    log = CsvLog(tmp_path / "steps.csv", ("step", "loss"), 0)
    for step in (1, 2, 3):
        log.write({"step": step, "loss": step / 3})
    with open(log.path, "a") as stream:
        stream.write("4,0.")  # killed here
    CsvLog(log.path, ("step", "loss"), 2).write({"step": 3, "loss": 9.0})
    assert [row["step"] for row in read_log(log.path)] == ["1", "2", "3"]
    assert [float(row["loss"]) for row in read_log(log.path)] == [1 / 3, 2 / 3, 9.0]


def test_weights_for_other_classes_keep_all_but_the_heads(tmp_path: Path) -> None:
    source = small(3, classes=7)
    save_checkpoint(source, tmp_path / "seven.npz")
    network, _, note = pretrained_network("yolov3_tiny", tmp_path / "seven.npz", 4, seed=0)
    assert network.params.num_classes == 4 and network.params.width == 0.1
    assert note is not None and "knows 7 classes, the data has 4: begun afresh head16, head32" in note
    np.testing.assert_array_equal(network.conv5.conv.weight.numpy(), source.conv5.conv.weight.numpy())
    same, _, nothing = pretrained_network("yolov3_tiny", tmp_path / "seven.npz", 7, seed=0)
    assert nothing is None
    np.testing.assert_array_equal(same.head32.conv.weight.numpy(), source.head32.conv.weight.numpy())
    with pytest.raises(WeightsError, match="--model yolov3_tiny"):
        pretrained_network("yolov3_darknet53", tmp_path / "seven.npz", 4, seed=0)


def test_a_pruned_network_stays_pruned_with_other_classes(tmp_path: Path) -> None:
    source = small(3, classes=7)
    tensors = {name: tensor.numpy() for name, tensor in source.state_dict().items()}
    half = tensors["head32_conv.conv.weight"].shape[0] // 2  # the layer right in front of a head
    for name in [name for name in tensors if name.startswith("head32_conv.")]:
        tensors[name] = tensors[name][:half]
    tensors["head32.conv.weight"] = tensors["head32.conv.weight"][:, :half]
    narrow_to(source, tensors)
    assign_tensors(source, tensors, "the test")
    save_checkpoint(source, tmp_path / "pruned.npz")
    network, _, note = pretrained_network("yolov3_tiny", tmp_path / "pruned.npz", 4, seed=0)
    assert note is not None and note.endswith("begun afresh head16, head32")
    assert network.head32.conv.weight.shape[:2] == [3 * (5 + 4), half]
    np.testing.assert_array_equal(network.head32_conv.conv.weight.numpy(), tensors["head32_conv.conv.weight"])
    assert (network.head32.conv.bias.numpy()[4 :: 5 + 4] < -4).all()
    check_channels(network, "the test")


def test_a_pruned_networks_backbone(tmp_path: Path) -> None:
    """Its rest is begun afresh as narrow as it was."""
    source = small(3, classes=7)
    tensors = {name: tensor.numpy() for name, tensor in source.state_dict().items()}
    for maker, reader in (("conv6", "conv7"), ("neck", "head32_conv"), ("head16_conv", "head16")):
        half = len(tensors[f"{maker}.conv.weight"]) // 2
        tensors.update({n: t[:half] for n, t in tensors.items() if n.startswith(f"{maker}.")})
        tensors[f"{reader}.conv.weight"] = tensors[f"{reader}.conv.weight"][:, :half]
    lateral = tensors["lateral.conv.weight"]  # reads the neck, too
    tensors["lateral.conv.weight"] = lateral[:, : len(tensors["neck.conv.weight"])]
    narrow_to(source, tensors)
    assign_tensors(source, tensors, "the test")
    save_checkpoint(source, tmp_path / "pruned.npz")
    network, _, note = backbone_network("yolov3_tiny", tmp_path / "pruned.npz", 4, seed=0)
    stages = ", ".join(f"conv{i}" for i in range(1, 8))
    assert f"loaded {stages}; begun afresh neck, head32_conv, head32, lateral, head16_conv, head16" in note
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    for name, array in state.items():
        if name.startswith("conv"):
            np.testing.assert_array_equal(array, tensors[name], err_msg=name)
        elif name.endswith("_variance"):
            assert array.shape == tensors[name].shape and (array == 1).all()
    assert network.head16.conv.weight.shape[0] == 3 * (5 + 4)
    assert all(np.isfinite(head.numpy()).all() for head in network(paddle.ones([2, 3, 64, 64])))


def test_a_fresh_network_depends_on_its_seed_and_expects_few_objects() -> None:
    a, b, c = small(0), small(0), small(1)
    np.testing.assert_array_equal(a.conv1.conv.weight.numpy(), b.conv1.conv.weight.numpy())
    assert (a.conv1.conv.weight.numpy() != c.conv1.conv.weight.numpy()).any()
    objectness = a.head32.conv.bias.numpy()[4::9]
    np.testing.assert_allclose(1 / (1 + np.exp(-objectness)), 0.01, rtol=1e-5)


def test_shared_batch_norm_is_batch_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppsplit.train.sync_bn._mean", lambda x: x.clone())
    x = np.random.default_rng(0).normal(1, 2, (4, 3, 96, 96)).astype(np.float32)
    results = []
    for kind in (paddle.nn.BatchNorm2D, SharedBatchNorm2D):
        bn, inputs = kind(3), paddle.to_tensor(x, stop_gradient=False)
        outputs = bn(inputs)
        (outputs**3).mean().backward()
        results.append([outputs, bn._mean, bn._variance, bn.weight.grad, bn.bias.grad, inputs.grad])
    for ours, theirs in zip(results[1], results[0]):
        largest = np.abs(theirs.numpy()).max()
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-4 * largest)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"input_sizes": (100,)}, "multiples of 32"),
        ({"epochs": 0}, "epochs 0"),
        ({"momentum": 1.5}, "momentum 1.5"),
        ({"width": 0.5}, "--scratch"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**wrong)


TRAIN_CONFIGS = [
    path
    for path in sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
    if "tools/train.py" in path.read_text().splitlines()[0]
]


@pytest.mark.parametrize("path", TRAIN_CONFIGS, ids=lambda p: p.stem)
def test_the_configs_are_read(path: Path) -> None:
    bound = parse(TrainConfig, ["--config", str(path), "--epochs", "7"])
    config = TrainConfig(**bound.arguments)
    assert config.epochs == 7 and path.stem.startswith(config.model)
    assert dataclasses.replace(config, epochs=1).identity()["model"] == config.model


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("epoch: 3\n")
    with pytest.raises(ConfigError, match="epochs"):
        parse(TrainConfig, ["--config", str(tmp_path / "wrong.yaml")])


def test_every_setting_is_explained() -> None:
    for field in dataclasses.fields(TrainConfig):
        assert f"\n        {field.name}: " in (TrainConfig.__doc__ or ""), f"nothing says what {field.name} is"
