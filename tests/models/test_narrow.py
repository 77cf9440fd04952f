"""A network as wide as its weights: what fits, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict, Tuple

import numpy as np
import pytest

from ppsplit.errors import WeightsError
from ppsplit.models import build_model
from ppsplit.models.assign import assign_tensors
from ppsplit.models.checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from ppsplit.models.narrow import check_channels, narrow_to
from ppsplit.paddle_first import paddle
from tests.models.seeded import random_image, randomise

Tensors = Dict[str, np.ndarray]


def network(name: str = "yolov3_tiny", width: float = 0.1, seed: int = 1) -> paddle.nn.Layer:
    made = build_model(name, 3, width)
    randomise(made, seed)
    made.eval()
    return made


def tensors_of(of: paddle.nn.Layer) -> Tensors:
    return {name: tensor.numpy() for name, tensor in of.state_dict().items()}


def without(tensors: Tensors, layer: str, count: int, readers: Tuple[Tuple[str, int], ...]) -> Tensors:
    """The first `count` channels of a layer gone, there and (at an offset) where they are read."""
    made = {name: array[count:] if name.startswith(f"{layer}.") else array for name, array in tensors.items()}
    for reader, offset in readers:
        name = f"{reader}.conv.weight"
        made[name] = np.delete(made[name], np.arange(offset, offset + count), axis=1)
    return made


def pruned_tensors() -> Tensors:
    """Of yolov3-tiny with 6 channels of conv5 less, which stand behind lateral's 13 in the concat."""
    return without(tensors_of(network()), "conv5", 6, (("conv6", 0), ("head16_conv", 13)))


def test_as_wide_as_the_weights() -> None:
    made, tensors = network(seed=2), pruned_tensors()
    kinds = {name: tensor.stop_gradient for name, tensor in made.state_dict().items()}
    narrow_to(made, tensors)
    assign_tensors(made, tensors, "test")
    check_channels(made, "test")
    assert {name: array.shape for name, array in tensors_of(made).items()} == {n: a.shape for n, a in tensors.items()}
    assert {name: tensor.stop_gradient for name, tensor in made.state_dict().items()} == kinds
    conv, bn = made.conv5.conv, made.conv5.bn
    assert (conv._in_channels, conv._out_channels, bn._num_features) == (13, 20, 20)
    assert made.head16_conv.conv._in_channels == 33


def test_a_narrowed_network_learns() -> None:
    made, tensors = network(seed=2), pruned_tensors()
    narrow_to(made, tensors)
    assign_tensors(made, tensors, "test")
    made.train()
    paddle.add_n([head.square().mean() for head in made(paddle.to_tensor(random_image(0, 64, 64)[None]))]).backward()
    learnt = [parameter.grad is not None for parameter in made.parameters()]
    assert learnt == [not parameter.stop_gradient for parameter in network().parameters()]  # all but the statistics
    mean = made.conv5.bn._mean.numpy()
    assert mean.shape == (20,) and not np.array_equal(mean, tensors["conv5.bn._mean"])  # and they are kept up


def test_the_same_width_is_left_alone() -> None:
    made = network()
    before = {name: id(tensor) for name, tensor in made.state_dict().items()}
    narrow_to(made, tensors_of(network(seed=2)))
    narrow_to(made, {})
    assert {name: id(tensor) for name, tensor in made.state_dict().items()} == before


class Grouped(paddle.nn.Layer):  # type: ignore[misc]
    def __init__(self, groups: int) -> None:
        super().__init__()
        self.conv = paddle.nn.Conv2D(8, 8, 3, padding=1, groups=groups)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.conv(x)


def test_depthwise_convolutions_follow() -> None:
    made = Grouped(8)
    narrow_to(made, {"conv.weight": np.zeros((5, 1, 3, 3), np.float32)})
    assert list(made(paddle.ones([1, 5, 4, 4])).shape) == [1, 5, 4, 4]
    assert list(made.conv.bias.shape) == [5]


def test_convolutions_in_groups_do_not() -> None:
    with pytest.raises(WeightsError, match="conv is a convolution in groups, whose channels cannot be pruned"):
        narrow_to(Grouped(2), {"conv.weight": np.zeros((4, 2, 3, 3), np.float32)})


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Tensors], Checkpoint]:
    """A checkpoint read back, with other tensors."""

    def write(tensors: Tensors, name: str = "yolov3_tiny", width: float = 0.1) -> Checkpoint:
        path = tmp_path / "c.npz"
        save_checkpoint(network(name, width), path)
        with np.load(path) as archive:
            header = archive["__header__"]
        np.savez(path, **tensors, __header__=header)
        return read_checkpoint(path)

    return write


def heads(of: paddle.nn.Layer) -> list:
    return [head.numpy() for head in of(paddle.to_tensor(random_image(4, 64, 64)[None]))]


def test_a_pruned_checkpoint_there_and_back(saved: Callable[..., Checkpoint], tmp_path: Path) -> None:
    built = saved(pruned_tensors()).build()
    built.eval()
    save_checkpoint(built, tmp_path / "again.npz")
    again = read_checkpoint(tmp_path / "again.npz").build()
    again.eval()
    for ours, theirs in zip(heads(again), heads(built)):
        np.testing.assert_array_equal(ours, theirs)


TORN = "the channels of the checkpoint do not fit together"
OTHER = "does not fit yolov3_tiny"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: without(t, "conv5", 6, ()), TORN),
        (lambda t: without(t, "conv5", 6, (("conv6", 0),)), TORN),  # the concat is wider than its reader
        (lambda t: {**t, "conv5.conv.weight": t["conv5.conv.weight"][6:]}, TORN),  # than its batch normalisation
        (lambda t: {**t, "conv1.conv.weight": t["conv1.conv.weight"][:, :1]}, TORN),  # no picture has one channel
        (lambda t: without(t, "head16", 8, ()), r"heads have \[24, 16\] channels, \[24, 24\] were expected for 3"),
        (lambda t: {**t, "conv5.bn._mean": t["conv5.bn._mean"][6:]}, OTHER),
        (lambda t: {**t, "conv5.bn.weight": t["conv5.bn.weight"][:0]}, OTHER),
        (lambda t: {**t, "conv5.conv.weight": t["conv5.conv.weight"][:0]}, OTHER),
        (lambda t: {**t, "conv5.conv.weight": t["conv5.conv.weight"][:, :, :1, :1]}, OTHER),
        (lambda t: {**t, "conv5.conv.weight": t["conv5.conv.weight"].reshape(-1)}, OTHER),
        (lambda t: {name: array for name, array in t.items() if name != "neck.bn.bias"}, OTHER),
        (lambda t: tensors_of(network("yolov3_darknet53", 0.05)), OTHER),
    ],
)
def test_what_does_not_fit(saved: Callable[..., Checkpoint], change: Callable[[Tensors], Tensors], says: str) -> None:
    checkpoint = saved(change(tensors_of(network())))
    with pytest.raises(WeightsError, match=says):
        checkpoint.build()


def test_a_residual_block_that_adds_other_channels(saved: Callable[..., Checkpoint]) -> None:
    tensors = without(tensors_of(network("yolov3_darknet53", 0.05)), "stage2.block1.expand", 3, ())
    with pytest.raises(WeightsError, match=TORN):
        saved(tensors, "yolov3_darknet53", 0.05).build()


def test_looking_leaves_modes_and_statistics_alone() -> None:
    made = network()
    made.train()
    made.conv3.eval()
    before = tensors_of(made)
    check_channels(made, "test")
    assert made.training and made.conv2.bn.training and not made.conv3.bn.training
    for name, array in tensors_of(made).items():
        np.testing.assert_array_equal(array, before[name])
