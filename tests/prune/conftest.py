"""Narrow networks with random weights, what of them can be pruned, and photos so small that a pruning takes seconds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Callable, Dict, List, Mapping

import numpy as np
import pytest

from ppsplit.data.layout import find_split
from ppsplit.data.shapes import ShapesPlan, make_shapes
from ppsplit.image import Preprocess
from ppsplit.models import build_model
from ppsplit.models.checkpoint import save_checkpoint
from ppsplit.paddle_first import paddle
from ppsplit.prune.channels import ChannelGroup, Pruner
from tests.models.seeded import random_image, randomise
from tests.train.conftest import finish

ROOT = Path(__file__).resolve().parents[2]
SIDE = 64
TINY, DARKNET = "yolov3_tiny", "yolov3_darknet53"
NAMES = ("circle", "square", "triangle", "star")

Command = Callable[..., List[str]]


def narrow(name: str = TINY, width: float = 0.1, seed: int = 1, num_classes: int = 3) -> paddle.nn.Layer:
    """A network whose values neither vanish nor explode, for inference."""
    paddle.seed(seed)
    network = build_model(name, num_classes, width)
    randomise(network, seed)
    network.eval()
    return network


def heads(network: paddle.nn.Layer, side: int = SIDE, count: int = 1) -> List[np.ndarray]:
    """What the network computes for some random images."""
    images = np.stack([random_image(seed, side, side) for seed in range(count)])
    with paddle.no_grad():
        return [head.numpy() for head in network(paddle.to_tensor(images))]


def difference(one: List[np.ndarray], other: List[np.ndarray]) -> float:
    """The largest difference of two networks' heads, as a share of the largest value."""
    assert [a.shape for a in one] == [b.shape for b in other]
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(one, other))


def state(network: paddle.nn.Layer) -> Dict[str, np.ndarray]:
    """A copy of all that a network holds."""
    return {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}


def drawn(groups: Mapping[str, ChannelGroup], names: List[str], rng: np.random.Generator) -> Dict[str, np.ndarray]:
    """Any channels to keep of these groups, at least one of each."""
    return {
        name: np.sort(rng.permutation(groups[name].channels)[: rng.integers(1, groups[name].channels + 1)])
        for name in names
    }


@pytest.fixture(scope="session")
def tiny() -> paddle.nn.Layer:
    """Not to be changed."""
    return narrow()


@pytest.fixture(scope="session")
def tiny_pruner(tiny: paddle.nn.Layer) -> Pruner:
    return Pruner(tiny, "l1")


@pytest.fixture(scope="session")
def darknet() -> paddle.nn.Layer:
    """Not to be changed."""
    return narrow(DARKNET, 0.05)


@pytest.fixture(scope="session")
def darknet_pruner(darknet: paddle.nn.Layer) -> Pruner:
    return Pruner(darknet, "l1")


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 training and 4 held-out images of 64 by 64, of four classes."""
    root = tmp_path_factory.mktemp("data") / "shapes"
    make_shapes(root, ShapesPlan(train=12, val=4, side=SIDE, objects=3))
    return root


@pytest.fixture(scope="session")
def photos(shapes: Path) -> Path:
    """The folder of the training images; nobody looks at their labels."""
    return find_split(shapes, "train")[1]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow yolov3-tiny for 64 x 64 with named classes, saved."""
    network = narrow(num_classes=4)
    network.class_names = NAMES
    path = tmp_path_factory.mktemp("checkpoint") / "whole.npz"
    save_checkpoint(network, path, Preprocess((SIDE, SIDE)))
    return path


@pytest.fixture(scope="session")
def words(checkpoint: Path, photos: Path) -> Command:
    """Options of a small pruning."""

    def options(output: Path, *more: str) -> List[str]:
        chosen = ["--weights", str(checkpoint), "--images", str(photos), "--output", str(output)]
        small = ["--probe-images", "4", "--divisor", "4", "--batch", "4", "--tune-images", "16", "--target-flops"]
        return [*chosen, *small, "-25%", "--warmup-steps", "2", "--save-every", "2", *more]

    return options


def tool(words: List[str]) -> List[str]:
    """The command line of a pruning in a process of its own."""
    return [sys.executable, str(ROOT / "tools" / "train_prune.py"), *words]


@pytest.fixture(scope="session")
def uninterrupted(words: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 images learnt from, four at a time."""
    output = tmp_path_factory.mktemp("whole") / "run"
    finish(tool(words(output, "--tune-images", "48")), output.parent)
    return output
