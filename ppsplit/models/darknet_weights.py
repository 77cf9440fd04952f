"""darknet's .weights files: a header, then every convolution's numbers in the order of the layers.

Header: int32 major, minor, revision, then the count of images seen: 64 bits from version 0.2 on, 32 before.
Body, float32, little endian: bias, then (with batch normalisation) scale, mean and variance, then the kernel
[out, in, h, w]. Nothing in the file says what network it is for; only its length tells.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import List

import numpy as np

from ppsplit.errors import WeightsError
from ppsplit.models.blocks import ConvBN, ConvLayer, conv_layers
from ppsplit.paddle_first import paddle

DARKNET_EPSILON = 1e-6  # darknet divides by sqrt(variance) + this, where Paddle has sqrt(variance + epsilon)


def load_darknet_weights(network: paddle.nn.Layer, path: Path) -> None:
    """Fill `network` with the numbers of a .weights file, so that it computes what darknet computes.

    Raises:
        WeightsError: cannot be read, too short or too long for this network, or holds NaN or a negative variance.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}; give a darknet .weights file") from error
    body = data[_header_size(data, path) :]
    expected = sum(parameter.size for layer in conv_layers(network) for parameter in _in_file_order(layer))
    _check_length(len(body), int(expected), network, path)
    numbers = np.frombuffer(body, "<f4")
    if not np.isfinite(numbers).all():
        raise WeightsError(f"{path} holds numbers that are not finite; it is damaged, fetch it again")
    start = 0
    for layer in conv_layers(network):
        arrays = []
        for parameter in _in_file_order(layer):
            arrays.append(numbers[start : start + parameter.size].reshape(parameter.shape))
            start += parameter.size
        _fill(layer, arrays, path)


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


def _fill(layer: ConvLayer, arrays: List[np.ndarray], path: Path) -> None:
    if isinstance(layer, ConvBN):
        if (arrays[3] < 0).any():
            raise WeightsError(f"{path} holds a negative variance; it is damaged or belongs to another network")
        arrays[1] = arrays[1] * _scale_ratio(layer, arrays[3])
    for parameter, array in zip(_in_file_order(layer), arrays):
        parameter.set_value(np.ascontiguousarray(array, np.float32))


def _scale_ratio(layer: ConvBN, variance: np.ndarray) -> np.ndarray:
    """Our scale over darknet's, float64 [C]. It carries the difference of the two epsilons.

    The variance could carry it too, but not where it is below our epsilon: it would become negative.
    """
    wide = variance.astype(np.float64)
    return np.sqrt(wide + layer.bn._epsilon) / (np.sqrt(wide) + DARKNET_EPSILON)
