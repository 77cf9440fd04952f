"""Golden figures of the original darknet: what they were computed from, and how to make them again.

    python -m tests.models.golden

needs Debian's darknet and rewrites tests/golden/*.json. The tests need only the JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np
import skimage

from ppsplit.image import Preprocess, read_image, to_input
from ppsplit.models import build_model
from ppsplit.models.darknet_cfg import format_cfg
from ppsplit.models.darknet_layout import darknet_sections
from ppsplit.models.darknet_weights import save_darknet_weights
from ppsplit.models.weights import load_weights
from ppsplit.paddle_first import paddle
from ppsplit.zoo import download
from tests.models.seeded import random_image, randomise

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "golden"
SAMPLES = 24  # raw values kept of each head
IOU = 0.45


@dataclass(frozen=True)
class Case:
    """One golden file.

    Attributes:
        model: the network.
        photo: of scikit-image, with the published weights; "" for random weights and a random image.
        input_hw: of the network.
        yolo_layers: indices of the yolo layers in darknet's numbering.
        seed, head_gain: of the random weights.
        threshold: boxes are kept above it.
    """

    model: str
    photo: str
    input_hw: Tuple[int, int]
    yolo_layers: Tuple[int, ...]
    seed: int = 0
    head_gain: float = 1.0
    threshold: float = 0.05

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.model}_{self.photo or 'seeded'}.json"

    def network(self) -> paddle.nn.Layer:
        """With the weights of this case."""
        network = build_model(self.model)
        network.eval()
        if self.photo:
            load_weights(network, published_weights())
        else:
            randomise(network, self.seed, self.head_gain)
        return network

    def input(self) -> np.ndarray:
        """float32 [3, h, w]."""
        if not self.photo:
            return random_image(self.seed, *self.input_hw)
        image = read_image(Path(skimage.__file__).parent / "data" / f"{self.photo}.png")
        return to_input(image, Preprocess(self.input_hw))[0][0]


CASES = (
    Case("yolov3_tiny", "coffee", (416, 416), (16, 23)),
    Case("yolov3_tiny", "motorcycle_left", (416, 416), (16, 23)),
    Case("yolov3_darknet53", "", (96, 64), (82, 94, 106), seed=53, head_gain=0.06, threshold=0.075),
)


def published_weights() -> Path:
    """yolov3-tiny.weights, fetched if need be."""
    return download("yolov3-tiny", ROOT / "complete_model")


def sample_indices(size: int) -> np.ndarray:
    """Which values of a flattened head are kept."""
    return np.sort(np.random.RandomState(size).choice(size, SAMPLES, replace=False))


def describe(case: Case, original: Dict[str, np.ndarray]) -> Dict[str, Any]:
    """The JSON of one case."""
    found = {"boxes_xyxy": original["boxes"], "scores": original["scores"], "class_ids": original["class_ids"]}
    described: Dict[str, Any] = {"threshold": case.threshold, "iou": IOU}
    described["input_mean"] = float(original["input"].astype(np.float64).mean())
    described["heads"] = []
    for index in range(len(case.yolo_layers)):
        head = original[f"head{index}"]
        values = head.reshape(-1)[sample_indices(head.size)]
        largest = float(np.abs(head).max())
        described["heads"].append({"shape": head.shape, "max_abs": largest, "samples": np.round(values, 6).tolist()})
    for name, values in found.items():
        described[name] = np.round(values.astype(np.float64), 6).tolist()
    return described


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for case in CASES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            network = case.network()
            weights = published_weights() if case.photo else folder / "seeded.weights"
            if not case.photo:
                save_darknet_weights(network, weights)
            (folder / "n.cfg").write_text(format_cfg(darknet_sections(network, case.input_hw)))
            np.save(folder / "x.npy", case.input())
            command = [sys.executable, Path(__file__).with_name("darknet_original.py"), folder / "n.cfg"]
            command += [weights, folder / "out.npz", "--heads", *case.yolo_layers]
            command += ["--input", folder / "x.npy", "--threshold", case.threshold, "--iou", IOU]
            subprocess.run([str(part) for part in command], check=True)
            with np.load(folder / "out.npz") as original:
                text = json.dumps(describe(case, dict(original)))
            case.path.write_text(text + "\n")


if __name__ == "__main__":
    main()
