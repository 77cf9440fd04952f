"""darknet's .weights files: a header, then every convolution's numbers in the order of the layers.

Header: int32 major, minor, revision, then the count of images seen: 64 bits from version 0.2 on, 32 before.
Body, float32, little endian: bias, then (with batch normalisation) scale, mean and variance, then the kernel
[out, in, h, w]. Nothing in the file says what network it is for; only its length tells.
"""

from __future__ import annotations

import itertools
import os
import struct
from pathlib import Path
from typing import List, Sequence

import numpy as np

from ppsplit.errors import WeightsError
from ppsplit.models.blocks import ConvBN, ConvLayer, conv_layers
from ppsplit.paddle_first import paddle

DARKNET_EPSILON = 1e-6  # darknet divides by sqrt(variance) + this, where Paddle has sqrt(variance + epsilon)
IMAGENET_CLASSES = 1000


def load_darknet_weights(network: paddle.nn.Layer, path: Path) -> None:
    """Fill `network` with the numbers of a .weights file, so that it computes what darknet computes.

    Raises:
        WeightsError: cannot be read, too short or too long for this network, or holds NaN or a negative variance.
    """
    body = _body(path)
    layers = conv_layers(network)
    _check_length(len(body), sum(map(_size, layers)), network, path)
    _fill_all(layers, body, path)


def load_darknet_start(network: paddle.nn.Layer, path: Path, wanted: int) -> int:
    """Fill the first convolutions of `network` from a .weights file, whatever comes behind them there.

    A file that ends with a convolution before the first head (darknet's `partial` makes such: darknet53.conv.74,
    yolov3-tiny.conv.15) gives all that it has. One of this network with any number of classes, or of its first
    convolutions and ImageNet's classifier, gives `wanted`.

    Returns:
        how many convolutions were filled, in the order of `conv_layers`.

    Raises:
        WeightsError: cannot be read, of another length, or damaged; nothing was changed then.
    """
    body = _body(path)
    layers = conv_layers(network)
    before_heads = list(itertools.takewhile(lambda layer: isinstance(layer, ConvBN), layers))
    ends = list(itertools.accumulate(map(_size, before_heads)))
    floats, rest = divmod(len(body), 4)
    if not rest and floats in ends:
        count = ends.index(floats) + 1
    elif not rest and _is_longer_file(network, floats, ends[wanted - 1], layers[wanted - 1]):
        count = wanted
    else:
        raise WeightsError(
            f"{path} is no beginning of {network.model_name} of width {network.params.width:g}: it holds {floats} "
            f"floats, the first {wanted} convolutions take {ends[wanted - 1]}, and what follows them is not known; "
            "give weights of this network or of its backbone"
        )
    _fill_all(layers[:count], body[: 4 * ends[count - 1]], path)
    return count


def _is_longer_file(network: paddle.nn.Layer, floats: int, end: int, last: ConvLayer) -> bool:
    """Whether a file of so many floats goes on behind `end` as this network with some classes, or as a classifier."""
    heads = [layer for layer in conv_layers(network) if not isinstance(layer, ConvBN)]
    others = sum(map(_size, conv_layers(network))) - sum(map(_size, heads))
    # an output of a head is a bias and a kernel of 1x1; there are anchors * (5 + classes) of them
    an_output = sum(len(mask) * (1 + int(head.conv.weight.shape[1])) for mask, head in zip(network.params.masks, heads))
    outputs, rest = divmod(floats - others, an_output)
    classifier = IMAGENET_CLASSES * (1 + int(last.conv.weight.shape[0]))
    return (rest == 0 and outputs > 5) or floats == end + classifier


def _body(path: Path) -> bytes:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}; give a darknet .weights file") from error
    return data[_header_size(data, path) :]


def _size(layer: ConvLayer) -> int:
    return sum(int(parameter.size) for parameter in _in_file_order(layer))


def _fill_all(layers: Sequence[ConvLayer], body: bytes, path: Path) -> None:
    """Fill layers with all of `body`, which is as long as they need; nothing is changed where it is damaged."""
    numbers = np.frombuffer(body, "<f4")
    if not np.isfinite(numbers).all():
        raise WeightsError(f"{path} holds numbers that are not finite; it is damaged, fetch it again")
    start = 0
    values: List[List[np.ndarray]] = []
    for layer in layers:
        arrays = []
        for parameter in _in_file_order(layer):
            arrays.append(numbers[start : start + parameter.size].reshape(parameter.shape))
            start += parameter.size
        if isinstance(layer, ConvBN) and (arrays[3] < 0).any():
            raise WeightsError(f"{path} holds a negative variance; it is damaged or belongs to another network")
        values.append(arrays)
    for layer, arrays in zip(layers, values):
        _fill(layer, arrays)


def save_darknet_weights(network: paddle.nn.Layer, path: Path, images_seen: int = 0) -> None:
    """Write `network` as a .weights file of version 0.2, aside and renamed; the inverse of loading up to rounding.

    Raises:
        WeightsError: the network's batch normalisation is already folded.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(partial, "wb") as stream:
        stream.write(struct.pack("<iiiQ", 0, 2, 0, images_seen))
        for layer in conv_layers(network):
            arrays = [parameter.numpy() for parameter in _in_file_order(layer)]
            if isinstance(layer, ConvBN):
                arrays[1] = (arrays[1] / _scale_ratio(layer, arrays[3])).astype(np.float32)
            stream.writelines(array.astype("<f4").tobytes() for array in arrays)
    os.replace(partial, path)


def looks_like_darknet(start: bytes) -> bool:
    """Whether a file that begins with these 12 bytes can be a .weights file: a version 0.1 or 0.2."""
    return len(start) >= 12 and struct.unpack("<ii", start[:8]) in ((0, 1), (0, 2))


def _header_size(data: bytes, path: Path) -> int:
    if not looks_like_darknet(data[:12]):
        raise WeightsError(f"{path} does not begin like a darknet .weights file of version 0.1 or 0.2; fetch it again")
    _, minor = struct.unpack("<ii", data[:8])
    return 12 + (8 if minor >= 2 else 4)


def _check_length(body_bytes: int, expected: int, network: paddle.nn.Layer, path: Path) -> None:
    found, rest = divmod(body_bytes, 4)
    if (found, rest) == (expected, 0):
        return
    if found < expected:
        problem = f"{expected - found} floats too short"
    else:
        problem = f"{found - expected} floats too long"
    if rest:
        problem += f" (and ends in {rest} odd bytes)"
    raise WeightsError(
        f"{path} is {problem}: it holds {found}, {network.model_name} with {network.params.num_classes} classes and "
        f"width {network.params.width:g} takes {expected}; give the weights of this network, or fetch them again"
    )


def _in_file_order(layer: ConvLayer) -> List[paddle.Tensor]:
    """The layer's tensors as the file has them: bias, [scale, mean, variance,] kernel."""
    if not isinstance(layer, ConvBN):
        return [layer.conv.bias, layer.conv.weight]
    if not isinstance(layer.bn, paddle.nn.BatchNorm2D):
        raise WeightsError("the network's batch normalisation is folded; load or save weights before folding it")
    return [layer.bn.bias, layer.bn.weight, layer.bn._mean, layer.bn._variance, layer.conv.weight]


def _fill(layer: ConvLayer, arrays: List[np.ndarray]) -> None:
    if isinstance(layer, ConvBN):
        arrays[1] = arrays[1] * _scale_ratio(layer, arrays[3])
    for parameter, array in zip(_in_file_order(layer), arrays):
        parameter.set_value(np.ascontiguousarray(array, np.float32))


def _scale_ratio(layer: ConvBN, variance: np.ndarray) -> np.ndarray:
    """Our scale over darknet's, float64 [C]. It carries the difference of the two epsilons.

    The variance could carry it too, but not where it is below our epsilon: it would become negative.
    """
    wide = variance.astype(np.float64)
    return np.sqrt(wide + layer.bn._epsilon) / (np.sqrt(wide) + DARKNET_EPSILON)
