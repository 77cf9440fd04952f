"""What a pruned layer's inputs lack, made up for by the ones that stay: least squares on real images, without labels.

A convolution is a matrix product of its weights with patches of its input. The Gram matrix of the patches, summed
once over some images of the unpruned network, says which weights of the channels that stay give the nearest output
(He et al., "Channel Pruning for Accelerating Very Deep Neural Networks", 2017, section 3.1, its second step).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np

from ppsplit.models.blocks import ConvLayer
from ppsplit.paddle_first import paddle
from ppsplit.prune.channels import KERNEL, ChannelGroup

POSITIONS = 160  # of each image's map that are looked at; neighbours say almost the same
RIDGE = 1e-3  # of the mean of the Gram matrix's diagonal: what few images say for certain, and no more
AT_ONCE = 4  # images

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Patches:
    """What a convolution sees, summed over positions of images. D = input channels x kernel area.

    Attributes:
        gram: float64 [D + 1, D + 1], of the patches and a one for the bias; with the ridge on its diagonal.
        weight: float64 [O, D], the layer's own.
        kernel_area: columns of one input channel.
    """

    gram: np.ndarray
    weight: np.ndarray
    kernel_area: int

    def refitted(self, kept: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """The weights on `kept` input channels (ascending) that come nearest to the whole layer's output.

        Returns:
            float32 [O, kept x kernel area], and what to add to the bias, float32 [O].
        """
        gone = self._columns(np.setdiff1d(np.arange(self.weight.shape[1] // self.kernel_area), kept))
        stay = self._columns(np.asarray(kept))
        known = np.append(stay, len(self.gram) - 1)
        lacking = self.gram[np.ix_(known, gone)] @ self.weight[:, gone].T
        made_up = np.linalg.solve(self.gram[np.ix_(known, known)], lacking)
        weight = self.weight[:, stay] + made_up[:-1].T
        return weight.astype(np.float32), made_up[-1].astype(np.float32)

    def _columns(self, channels: np.ndarray) -> np.ndarray:
        return (channels[:, None] * self.kernel_area + np.arange(self.kernel_area)).reshape(-1)


def readers(groups: Mapping[str, ChannelGroup]) -> List[str]:
    """The layers that read channels of these groups."""
    return sorted({m.tensor[: -len(KERNEL)] for group in groups.values() for m in group.members if m.axis == 1})


def watch(
    network: paddle.nn.Layer,
    names: Sequence[str],
    images: Sequence[np.ndarray],
    progress: Progress = lambda done, total: None,
) -> Dict[str, Patches]:
    """Run `network` on images and sum up what these of its layers see.

    Args:
        names: structural names of ConvBN or HeadConv layers. Each takes 8 x (D + 1)^2 bytes.
        images: network inputs float32 [1, 3, H, W], of one size.
        progress: called with images done and how many there are.
    """
    network.eval()
    layers = dict(network.named_sublayers())
    sums: Dict[str, np.ndarray] = {}

    def catch(name: str) -> Callable[..., None]:
        def hook(conv: paddle.nn.Conv2D, given: Tuple[paddle.Tensor]) -> None:
            rows = _patches(conv, given[0])
            sums[name] = sums.get(name, 0.0) + (rows.T @ rows).astype(np.float64)

        return hook

    handles = [layers[name].conv.register_forward_pre_hook(catch(name)) for name in names]
    try:
        with paddle.no_grad():
            for start in range(0, len(images), AT_ONCE):
                network(paddle.to_tensor(np.concatenate(images[start : start + AT_ONCE])))
                progress(min(start + AT_ONCE, len(images)), len(images))
    finally:
        for handle in handles:
            handle.remove()
    return {name: _summed(layers[name], gram) for name, gram in sums.items()}


def _patches(conv: paddle.nn.Conv2D, given: paddle.Tensor) -> np.ndarray:
    """What some positions of the output see: float32 [rows, D + 1], a one at the end."""
    kernel, stride, padding = conv.weight.shape[2], conv._stride[0], conv._padding
    height, width = ((side + 2 * padding - kernel) // stride + 1 for side in given.shape[2:])
    chosen = np.random.Generator(np.random.PCG64(0)).permutation(height * width)[:POSITIONS]
    padded = np.pad(given.numpy(), ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    top, left, offsets = chosen // width * stride, chosen % width * stride, np.arange(kernel)
    seen = padded[:, :, top[:, None, None] + offsets[:, None], left[:, None, None] + offsets]  # [N, C, P, k, k]
    rows = seen.transpose(0, 2, 1, 3, 4).reshape(len(seen) * len(chosen), -1)
    return np.concatenate([rows, np.ones((len(rows), 1), np.float32)], axis=1)


def _summed(layer: ConvLayer, gram: np.ndarray) -> Patches:
    weight = layer.conv.weight.numpy().reshape(layer.conv.weight.shape[0], -1).astype(np.float64)
    gram[np.diag_indices(len(gram) - 1)] += RIDGE * np.diag(gram)[:-1].mean()
    return Patches(gram, weight, int(np.prod(layer.conv.weight.shape[2:])))


def compensate(
    pruned: paddle.nn.Layer,
    groups: Mapping[str, ChannelGroup],
    kept: Mapping[str, np.ndarray],
    seen: Mapping[str, Patches],
) -> None:
    """Refit every layer of `pruned` that lost inputs and was watched.

    Args:
        pruned: is changed.
        groups: of the unpruned network.
        kept: group to the channels that stayed.
        seen: layer to what it saw in the unpruned network.
    """
    layers = dict(pruned.named_sublayers())
    made_by = {maker: kept[name] for name in kept for maker in groups[name].makers}
    for name, inputs in kept_inputs(groups, kept, seen).items():
        weight, bias = seen[name].refitted(inputs)
        outputs = made_by.get(name, np.arange(len(weight)))
        _set(layers[name], weight[outputs], bias[outputs])


def kept_inputs(
    groups: Mapping[str, ChannelGroup], kept: Mapping[str, np.ndarray], seen: Mapping[str, Patches]
) -> Dict[str, np.ndarray]:
    """Of each watched layer that loses some, the input channels that stay, ascending."""
    gone: Dict[str, np.ndarray] = {}
    for name, stay in kept.items():
        dropped = np.setdiff1d(np.arange(groups[name].channels), stay)
        for member in groups[name].members:
            reader = member.tensor[: -len(KERNEL)]
            if member.axis == 1 and reader in seen and len(dropped):
                gone[reader] = np.append(gone.get(reader, np.zeros(0, np.int64)), member.offset + dropped)
    inputs = {name: patches.weight.shape[1] // patches.kernel_area for name, patches in seen.items()}
    return {name: np.setdiff1d(np.arange(inputs[name]), channels) for name, channels in gone.items()}


def _set(layer: ConvLayer, weight: np.ndarray, bias: np.ndarray) -> None:
    """A bias goes into batch normalisation's mean where the convolution has none."""
    layer.conv.weight.set_value(weight.reshape(layer.conv.weight.shape))
    if layer.conv.bias is not None:
        layer.conv.bias.set_value(layer.conv.bias.numpy() + bias)
    else:
        layer.bn._mean.set_value(layer.bn._mean.numpy() - bias)
