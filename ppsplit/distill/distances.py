"""How far a network, pruned or quantized, is from the one it came from, on images that nobody has labelled.

At the heads: for each box, binary cross-entropy of objectness and of the classes against the teacher's, and squared
differences of the box's four numbers, the last three weighed by how sure the teacher is of an object there (so do
Chen et al., "Learning Efficient Object Detection Models with Knowledge Distillation", 2017, with the labels' help).
In between: squared differences of each layer's maps from the teacher's channels that the layer still has, as a share
of their mean square (FitNets; Romero et al., 2015; no adapter is needed, since the channels are the same ones).
"""

from __future__ import annotations

from typing import Dict, List, Mapping, Sequence

import numpy as np

from ppsplit.distill.walk import Maps
from ppsplit.models.anchors import AnchorParams
from ppsplit.paddle_first import paddle

PARTS = ("box", "objectness", "class", "feature")
SURE_ENOUGH = 0.002  # added to the teacher's objectness as a weight: AP also counts boxes it is hardly sure of


def head_distances(
    student: Sequence[paddle.Tensor], teacher: Sequence[paddle.Tensor], params: AnchorParams
) -> Dict[str, paddle.Tensor]:
    """The distances at the heads.

    Args:
        student, teacher: raw heads float32 [N, A * (5 + C), H, W].
        params: of both networks.

    Returns:
        "box", "objectness" and "class", each a scalar: summed over boxes, mean over images. The teacher's own
        entropy is taken off the last two, so that all are 0 where the heads agree.
    """
    sums: Dict[str, List[paddle.Tensor]] = {"box": [], "objectness": [], "class": []}
    for mine, theirs, mask in zip(student, teacher, params.masks):
        mine, theirs = _boxes(mine, len(mask)), _boxes(theirs, len(mask))
        sure = paddle.nn.functional.sigmoid(theirs[:, :, 4])
        weight = sure + SURE_ENOUGH
        place = paddle.nn.functional.sigmoid(mine[:, :, :2]) - paddle.nn.functional.sigmoid(theirs[:, :, :2])
        size = mine[:, :, 2:4] - theirs[:, :, 2:4]
        sums["box"].append(((place.square() + size.square()).sum(2) * weight).sum())
        sums["objectness"].append(_divergence(mine[:, :, 4], theirs[:, :, 4]).sum())
        sums["class"].append((_divergence(mine[:, :, 5:], theirs[:, :, 5:]).sum(2) * weight).sum())
    return {part: paddle.add_n(values) / student[0].shape[0] for part, values in sums.items()}


def _boxes(head: paddle.Tensor, anchors: int) -> paddle.Tensor:
    """[N, A * (5 + C), H, W] to [N, A, 5 + C, H, W]."""
    n, channels, height, width = head.shape
    return head.reshape([n, anchors, channels // anchors, height, width])


def _divergence(logits: paddle.Tensor, wanted: paddle.Tensor) -> paddle.Tensor:
    """Binary KL divergence of each element, in nats."""
    cross_entropy = paddle.nn.functional.binary_cross_entropy_with_logits
    target = paddle.nn.functional.sigmoid(wanted)
    entropy = cross_entropy(wanted, target, reduction="none")
    return cross_entropy(logits, target, reduction="none") - entropy


def feature_distance(student: Maps, teacher: Maps, kept: Mapping[str, np.ndarray]) -> paddle.Tensor:
    """The mean over layers of the squared difference as a share of the teacher's mean square.

    Args:
        student, teacher: layer to map [N, C, H, W].
        kept: layer to int64, which of the teacher's channels the student has; a layer not named has all.
    """
    shares = []
    for name, mine in student.items():
        theirs = teacher[name]
        if name in kept:
            theirs = paddle.index_select(theirs, paddle.to_tensor(kept[name]), axis=1)
        shares.append((mine - theirs).square().mean() / paddle.clip(theirs.square().mean(), min=1e-6))
    return paddle.add_n(shares) / len(shares)
