"""Operators that PaddleSlim 2.6.0 cannot follow when it looks which layers' channels belong together.

Without `concat` no channel that reaches one, which are the widest of a detector's neck, could be pruned.
"""

from __future__ import annotations

from typing import Any, Dict, List

from paddleslim.prune.prune_worker import PRUNE_WORKER, PruneWorker, UnsupportOpError, activation


class nearest_interp_v2(activation):  # noqa: N801  PaddleSlim looks workers up by the operator's name
    """Resizes H and W; channels pass."""


class bilinear_interp_v2(activation):  # noqa: N801
    """Resizes H and W; channels pass."""


class concat(PruneWorker):  # noqa: N801
    """Channels of an input become a slice of the output's, at the input's offset."""

    def _prune(self, var: Any, pruned_axis: int, transforms: List[Dict[str, int]]) -> None:
        inputs, output = self.op.inputs("X"), self.op.outputs("Out")[0]
        if var in self.op.outputs("Out") or self.op.attr("axis") != pruned_axis:
            raise UnsupportOpError(f"channels are tied to others through {output.name()}")
        before = sum(tensor.shape()[pruned_axis] for tensor in inputs[: inputs.index(var)])
        channels = var.shape()[pruned_axis]
        shift = {
            "src_start": 0,
            "src_end": channels,
            "target_start": before,
            "target_end": before + channels,
            "target_len": output.shape()[pruned_axis],
        }
        self._search_afresh(output, pruned_axis, [*transforms, shift])

    def _search_afresh(self, output: Any, pruned_axis: int, transforms: List[Dict[str, int]]) -> None:
        """Go on behind the output, once for each input: PaddleSlim would visit a reader for the first one only."""
        self.visited: Dict[int, Any] = {}
        self._visit(output, pruned_axis)  # its readers look back at what wrote it
        for reader in output.outputs():
            self._prune_op(reader, output, pruned_axis, transforms)


def register_operators() -> None:
    """Add the operators above to PaddleSlim's registry, unless it has learnt them itself."""
    for worker in (concat, nearest_interp_v2, bilinear_interp_v2):
        if PRUNE_WORKER.get(worker.__name__) is None:
            PRUNE_WORKER.register(worker)
