"""Small bundles that really run, and a server for them in a process of its own."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Iterator, NamedTuple, Sequence

import cv2
import numpy as np
import urllib3

INPUT_HW = (32, 48)
CLASS_NAMES = ("cup", "cat")
SERVE = (
    "import sys; from ppsplit.cli import main; "
    "sys.exit(main(['serve', '--bundle', sys.argv[1], '--port', sys.argv[2], '--runtime', sys.argv[3], *sys.argv[4:]]))"
)


def write_photos(folder: Path, count: int = 3) -> Path:
    """Noise pictures of different sizes, `0.png` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        pixels = np.random.default_rng(seed).integers(0, 256, (60 + 10 * seed, 80, 3), np.uint8)
        cv2.imwrite(str(folder / f"{seed}.png"), cv2.blur(pixels, (9, 9)))
    return folder


def export_tiny(
    family: str,
    folder: Path,
    quant: Sequence[str] = (),
    cuts: Sequence[str] = ("deep", "stem", "output"),
    onnx: bool = False,
) -> Path:
    """A network of two stages and one head, cut after each stage and behind the last operator.

    Args:
        family: "yolov3" or "raw".
        quant: precisions beside fp32; "mixed" has 6 bits for every weight.
        onnx: with ONNX files, too.
    """
    from ppsplit.bundle import DecodeSpec
    from ppsplit.export.freeze import FrozenModel, trace
    from ppsplit.export.split import SplitPlan, export_bundle
    from ppsplit.image import Preprocess

    (folder / "scratch").mkdir(parents=True)
    program, stages = trace(_network(), INPUT_HW, folder / "scratch")
    params = {
        "num_classes": len(CLASS_NAMES),
        "anchors": [[10, 14], [20, 12]],
        "masks": [[0, 1]],
        "strides": [4],
        "score_threshold": 0.3,
        "nms_iou_threshold": 0.45,
        "max_detections": 20,
    }
    decode = DecodeSpec(family, params if family == "yolov3" else {})
    frozen = FrozenModel(f"tiny-{family}", program, Preprocess(INPUT_HW), decode, CLASS_NAMES, stages)
    photos = tuple(sorted(write_photos(folder / "photos").iterdir()))
    bits = (("*", 6),) if "mixed" in quant else ()
    plan = SplitPlan(tuple(cuts), tuple(quant), ("x86",), False, photos, photos, bits=bits, onnx=onnx)
    return export_bundle(frozen, plan, folder / "bundle", lambda step: None).root


def _network() -> Any:
    from ppsplit.paddle_first import paddle

    class Tiny(paddle.nn.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.stem = paddle.nn.Conv2D(3, 8, 3, stride=2, padding=1)
            self.deep = paddle.nn.Conv2D(8, 16, 3, stride=2, padding=1)
            self.head = paddle.nn.Conv2D(16, 2 * (5 + len(CLASS_NAMES)), 1)

        def forward(self, image: Any) -> Any:
            leaky_relu = paddle.nn.functional.leaky_relu
            return self.head(leaky_relu(self.deep(leaky_relu(self.stem(image), 0.1)), 0.1))

    paddle.seed(7)
    network = Tiny()
    weight = network.head.weight
    weight.set_value(weight * 8)  # else every score is about .25 and nothing is ever found
    return network


class Server(NamedTuple):
    """A running `serve`."""

    url: str
    process: "subprocess.Popen[str]"

    def is_alive(self) -> bool:
        """Whether /healthz answers."""
        return get(self.url + "/healthz").status == 200


def get(url: str) -> Any:
    """GET without retries."""
    return urllib3.request("GET", url, retries=False, timeout=10)


@contextlib.contextmanager
def serving(
    bundle: Path, port: int = 0, runtime: str = "paddle", extra: Sequence[str] = (), code: str = SERVE
) -> Iterator[Server]:
    """Serve in a process of its own; yields once it is ready.

    Args:
        extra: more arguments for `serve`.
        code: what the process runs in place of `SERVE`, with the same arguments.
    """
    command = [sys.executable, "-c", code, str(bundle), str(port), runtime, *extra]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found, "the server said no URL"
            server = Server(found.group(0), process)
            deadline = time.monotonic() + 60
            while get(server.url + "/readyz").status != 200:
                assert time.monotonic() < deadline, "the server never got ready"
                time.sleep(0.05)
            yield server
        finally:
            process.kill()
