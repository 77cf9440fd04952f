"""A network watched as it runs: what its sublayers give, and in which order they run."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Dict, Iterator, Sequence, Tuple

from ppsplit.paddle_first import paddle

Maps = Dict[str, paddle.Tensor]


@contextmanager
def recorded(network: paddle.nn.Layer, names: Sequence[str]) -> Iterator[Maps]:
    """While inside, the maps that these sublayers of `network` gave last, in the order in which they ran first."""
    maps: Maps = {}

    def note(name: str):  # type: ignore[no-untyped-def]
        def hook(_layer: paddle.nn.Layer, _inputs: Tuple[paddle.Tensor], output: paddle.Tensor) -> None:
            maps[name] = output

        return hook

    handles = [
        layer.register_forward_post_hook(note(name)) for name, layer in network.named_sublayers() if name in names
    ]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def evaluating(network: paddle.nn.Layer) -> Iterator[None]:
    """Inside, `network` is run for inference and keeps its statistics; behind, each layer is in the mode it was."""
    modes = [(layer, layer.training) for layer in network.sublayers(include_self=True)]
    network.eval()
    try:
        with paddle.no_grad():
            yield
    finally:
        for layer, training in modes:
            layer.training = training


def smallest_side(network: paddle.nn.Layer) -> int:
    """A side of an image in pixels, small and yet with a middle in the coarsest map."""
    return int(max(network.params.strides)) * 2


def walked(network: paddle.nn.Layer, names: Sequence[str]) -> Maps:
    """What these sublayers give for an empty image of `smallest_side`, in the order in which they run first."""
    side = smallest_side(network)
    with recorded(network, names) as maps, evaluating(network):
        network(paddle.zeros([1, 3, side, side]))
    return maps
