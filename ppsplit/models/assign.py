"""Named arrays into a network, all or nothing."""

from __future__ import annotations

from typing import Dict, List, Sequence

import numpy as np

from ppsplit.errors import WeightsError
from ppsplit.paddle_first import paddle

MOST_REPORTED = 6


def assign_tensors(network: paddle.nn.Layer, tensors: Dict[str, np.ndarray], origin: str) -> None:
    """Set every parameter and buffer of `network` from the array of the same name.

    Args:
        tensors: structural name ("stage1.down.conv.weight") to array; exactly the network's names.
        origin: the file, for messages.

    Raises:
        WeightsError: names are missing or left over, or a shape, dtype or value is wrong; nothing was changed.
    """
    state = network.state_dict()
    problems: List[str] = []
    problems += _listed("missing", [name for name in state if name not in tensors])
    problems += _listed("left over", [name for name in tensors if name not in state])
    common = [name for name in state if name in tensors]
    shapes = [
        f"{name} {list(tensors[name].shape)} instead of {list(state[name].shape)}"
        for name in common
        if list(tensors[name].shape) != list(state[name].shape)
    ]
    problems += _listed("of the wrong shape", shapes)
    problems += _listed("not floats", [name for name in common if tensors[name].dtype.kind != "f"])
    if not problems:
        problems += _listed("not finite", [name for name in common if not np.isfinite(tensors[name]).all()])
    if problems:
        raise WeightsError(
            f"{origin} does not fit {network.model_name}: {'; '.join(problems)}. Give the weights of this network, "
            "or build the network with the same classes, anchors and width"
        )
    for name in common:
        state[name].set_value(np.ascontiguousarray(tensors[name], np.float32))


def _listed(what: str, names: Sequence[str]) -> List[str]:
    if not names:
        return []
    more = f" and {len(names) - MOST_REPORTED} more" if len(names) > MOST_REPORTED else ""
    return [f"{len(names)} {what}: {', '.join(names[:MOST_REPORTED])}{more}"]
