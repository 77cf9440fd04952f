"""What each layer's channels are worth: prune one group alone, at some ratios, and see what the heads lose."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ppsplit.data.coco import CocoSet
from ppsplit.distill.distances import head_distances
from ppsplit.files import write_json_atomically
from ppsplit.image import Preprocess
from ppsplit.paddle_first import paddle
from ppsplit.prune.allocate import rounded
from ppsplit.prune.channels import Pruner
from ppsplit.prune.compensate import Patches, compensate
from ppsplit.train.average_precision import network_ap

RATIOS = (0.125, 0.25, 0.375, 0.5, 0.625)
AT_ONCE = 4  # images

Progress = Callable[[int, int], None]
Row = Dict[str, Any]


@dataclass(frozen=True)
class Probe:
    """What a network is measured with.

    Attributes:
        images: network inputs float32 [1, 3, H, W], without labels.
        labelled: a set to measure AP on as well, for people to look at; it decides nothing.
        preprocess: how its images become inputs.
    """

    images: Sequence[np.ndarray]
    labelled: Optional[CocoSet]
    preprocess: Preprocess

    def heads(self, network: paddle.nn.Layer) -> List[List[paddle.Tensor]]:
        """Raw heads, for some images at a time."""
        network.eval()
        with paddle.no_grad():
            return [
                network(paddle.to_tensor(np.concatenate(self.images[start : start + AT_ONCE])))
                for start in range(0, len(self.images), AT_ONCE)
            ]

    def distance(self, network: paddle.nn.Layer, whole: List[List[paddle.Tensor]]) -> float:
        """The distance of the heads from those of the whole network, mean over images."""
        total = 0.0
        for mine, theirs in zip(self.heads(network), whole):
            parts = head_distances(mine, theirs, network.params)
            total += float(paddle.add_n(list(parts.values()))) * len(mine[0])
        return total / len(self.images)

    def ap(self, network: paddle.nn.Layer) -> Optional[float]:
        """AP on the labelled set; None without one."""
        return network_ap(network, self.labelled, self.preprocess)["ap"] if self.labelled else None


def sensitivity(
    pruner: Pruner,
    seen: Mapping[str, Patches],
    names: Sequence[str],
    probe: Probe,
    divisor: int,
    cache: Path,
    identity: Dict[str, Any],
    progress: Progress = lambda done, total: None,
) -> List[Row]:
    """Measure every group of `names` at `RATIOS`, what is in `cache` already left out.

    Args:
        pruner: of the whole network.
        seen: what its layers see; refits what is left.
        divisor: kept channels are multiples of it.
        cache: JSON file; written after every measurement. Others may use it, too.
        identity: what decides the result; a cache of another one is begun anew.
        progress: called with measurements done and how many there are.

    Returns:
        rows of group, channels, kept, distance and ap (None where there are no labels); the first row is the whole
        network.
    """
    identity = json.loads(json.dumps(identity))
    rows = _read(cache, identity)
    known = {(row["group"], row["kept"]) for row in rows}
    wanted = [
        (name, kept)
        for name in names
        for kept in dict.fromkeys(_kept(pruner.groups[name].channels, ratio, divisor) for ratio in RATIOS)
        if kept < pruner.groups[name].channels
    ]
    whole = probe.heads(pruner.network)
    if ("", 0) not in known:
        rows.append({"group": "", "channels": 0, "kept": 0, "distance": 0.0, "ap": probe.ap(pruner.network)})
    for done, (name, count) in enumerate(wanted, 1):
        if (name, count) not in known:
            rows.append(_measured(pruner, seen, name, count, probe, whole))
            write_json_atomically(cache, {"identity": identity, "rows": rows})
        progress(done, len(wanted))
    found = {(row["group"], row["kept"]): row for row in rows}
    return [found[key] for key in [("", 0), *wanted]]  # in one order, whoever measured what first


def fewest(channels: int, divisor: int) -> int:
    """What at least stays of a group: no more of it is pruned at once than is measured."""
    return _kept(channels, max(RATIOS), divisor)


def _kept(channels: int, ratio: float, divisor: int) -> int:
    return rounded(channels * (1 - ratio), channels, divisor)


def _measured(
    pruner: Pruner, seen: Mapping[str, Patches], name: str, count: int, probe: Probe, whole: List[List[paddle.Tensor]]
) -> Row:
    kept = pruner.kept({name: count})
    network = pruner.pruned(kept)
    compensate(network, pruner.groups, kept, seen)
    return {
        "group": name,
        "channels": pruner.groups[name].channels,
        "kept": count,
        "distance": probe.distance(network, whole),
        "ap": probe.ap(network),
    }


def losses(rows: Sequence[Row]) -> Dict[str, List[Tuple[int, float]]]:
    """Group to pairs of kept channels and distance, as `by_budget` wants them."""
    found: Dict[str, List[Tuple[int, float]]] = {}
    for row in rows:
        if row["group"]:
            found.setdefault(row["group"], []).append((row["kept"], row["distance"]))
    return found


def _read(cache: Path, identity: Dict[str, Any]) -> List[Row]:
    try:
        values = json.loads(cache.read_text(encoding="utf-8"))
        rows = [{name: row[name] for name in ("group", "channels", "kept", "distance", "ap")} for row in values["rows"]]
        return rows if values["identity"] == identity else []
    except (OSError, ValueError, KeyError, TypeError):  # not there, or not ours: it is measured again
        return []
