"""What torchvision's classifiers compute with seeded weights, for the port to be measured against.

Run where torch and torchvision are installed: `python tests/models/torchvision_golden.py` writes
tests/golden/classifiers_torchvision.json (made with torchvision 0.29.2).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Mapping, Sequence

import numpy as np

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "classifiers_torchvision.json"
NAMES = ("resnet18", "resnet50", "resnext50_32x4d", "mobilenet_v2", "mnasnet1_0", "googlenet")
CLASSES, INPUT_HW = 7, (64, 96)


def seeded_arrays(shapes: Mapping[str, Sequence[int]]) -> Dict[str, np.ndarray]:
    """Random tensors by torch's names, under which values neither vanish nor explode; statistics are real ones."""
    arrays: Dict[str, np.ndarray] = {}
    for number, name in enumerate(sorted(shapes)):
        random, shape, leaf = np.random.RandomState(number), tuple(shapes[name]), name.rpartition(".")[2]
        if len(shape) > 1:
            limit = np.sqrt(6.0 / np.prod(shape[1:]))
            low, high = -limit, limit
        else:
            is_norm = name[: -len(leaf)] + "running_mean" in shapes
            ranges = {"weight": (0.6, 1.0), "running_var": (0.7, 1.5)} if is_norm else {}
            low, high = ranges.get(leaf, (-0.2, 0.2))
        arrays[name] = random.uniform(low, high, shape).astype(np.float32)
    return arrays


def seeded_image() -> np.ndarray:
    """float32 [1, 3, H, W]."""
    return np.random.RandomState(99).uniform(-1, 1, (1, 3, *INPUT_HW)).astype(np.float32)


def _logits(name: str) -> Dict[str, Any]:
    import torch  # type: ignore[import-not-found]
    import torchvision  # type: ignore[import-not-found]

    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    network = getattr(torchvision.models, name)(num_classes=CLASSES, **options).eval()
    state = network.state_dict()
    shapes = {key: list(tensor.shape) for key, tensor in state.items() if not key.endswith("num_batches_tracked")}
    with torch.no_grad():
        for key, array in seeded_arrays(shapes).items():
            state[key].copy_(torch.from_numpy(array))  # the network's own tensors
        logits = network(torch.from_numpy(seeded_image()))
    return {"shapes": shapes, "logits": [round(float(x), 6) for x in logits[0]]}


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({name: _logits(name) for name in NAMES}, separators=(",", ":")) + "\n")
