"""Which channels of a layer matter least. PaddleSlim's pruners; the one it lacks for dynamic networks is added."""

from __future__ import annotations

from typing import Any, Dict, Tuple, Type

import numpy as np
from paddleslim.dygraph import FilterPruner, FPGMFilterPruner, L1NormFilterPruner

from ppsplit.models.blocks import ConvBN
from ppsplit.paddle_first import paddle


class BnScaleFilterPruner(FilterPruner):
    """Drops the channels that batch normalisation scales least (Liu et al., "Network Slimming", 2017).

    The scale is gamma over the running deviation: a channel's published gamma says little where its variance is
    not one, which it is not in weights that were trained without the paper's penalty on gamma.
    """

    def __init__(self, model: paddle.nn.Layer, inputs: Any) -> None:
        super().__init__(model, inputs)
        self._scales = {
            block.conv.weight.name: np.abs(block.bn.weight.numpy()) / np.sqrt(block.bn._variance.numpy() + 1e-5)
            for block in model.sublayers()
            if isinstance(block, ConvBN) and isinstance(block.bn, paddle.nn.BatchNorm2D)
        }

    def cal_mask(self, pruned_ratio: float, collection: Any, num_head: int = -1) -> np.ndarray:
        """int32 [channels] of the collection's master, 1 for what stays."""
        scales = self._scales[collection.master_name]
        dropped = min(len(scales) - 1, round(len(scales) * pruned_ratio))
        mask = np.ones(len(scales), np.int32)
        mask[np.argsort(scales)[:dropped]] = 0
        return mask


class FpgmFilterPruner(FPGMFilterPruner):
    """PaddleSlim's, each layer's distances computed once and as a matrix product; it takes seconds a ratio else."""

    def __init__(self, model: paddle.nn.Layer, inputs: Any) -> None:
        super().__init__(model, inputs)
        self._sums: Dict[int, Tuple[np.ndarray, np.ndarray]] = {}

    def get_distance_sum(self, value: np.ndarray, out_idx: int) -> float:
        """How far filter `out_idx` of float32 [O, I, kh, kw] is from all others together."""
        if id(value) not in self._sums:
            filters = value.reshape(len(value), -1).astype(np.float64)
            squares = (filters**2).sum(1)
            distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * filters @ filters.T, 0))
            self._sums[id(value)] = value, distances.sum(1)  # kept, or its id would be given to another layer's
        return float(self._sums[id(value)][1][out_idx])


CRITERIA: Dict[str, Type[FilterPruner]] = {
    "l1": L1NormFilterPruner,  # Li et al., "Pruning Filters for Efficient ConvNets", 2017
    "fpgm": FpgmFilterPruner,  # He et al., "Filter Pruning via Geometric Median", 2019
    "bn": BnScaleFilterPruner,
}
