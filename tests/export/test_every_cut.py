"""cloud(edge(x)) == full(x) at every cut of yolov3-tiny and every residual block of DarkNet-53.

In the runtimes that serve, with the options that serve: the edge half in Paddle Lite and in Paddle Inference, the
cloud half in Paddle Inference.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List

import numpy as np
import pytest

from ppsplit.data.sample_photos import sample_photos
from ppsplit.export.certify import TOLERANCES, compare
from ppsplit.export.freeze import FrozenModel, trace
from ppsplit.export.graph import GraphCut, distinct_cuts, resolve_cut
from ppsplit.export.lite import convert_to_nb
from ppsplit.export.network import freeze_model
from ppsplit.export.program import FrozenProgram
from ppsplit.image import read_image, to_input
from ppsplit.models import build_model, decode_spec, model_family
from ppsplit.models.fold import fold_batch_norm
from ppsplit.paddle_first import paddle
from ppsplit.runtime import Passthrough, Runtime, run_part
from ppsplit.runtime.lite import LiteRuntime
from ppsplit.runtime.paddle import PaddleRuntime


def save(program: FrozenProgram, operators: tuple, feeds: List[str], fetches: List[str], prefix: Path) -> Runtime:
    if not fetches:
        return Passthrough()
    program.save_part(prefix, program.with_constants([op.index for op in operators]), feeds, fetches)
    return PaddleRuntime(Path(f"{prefix}.pdmodel"), Path(f"{prefix}.pdiparams"))


def largest_error(model: FrozenModel, cuts: List[GraphCut], image: np.ndarray, folder: Path) -> Dict[str, float]:
    """Cut and runtime to relative error; fails at the first that is over the tolerance or not finite."""
    program, graph = model.program, model.program.graph()
    names = list(graph.outputs)
    whole = save(program, graph.operators, list(graph.inputs), names, folder / "whole").run({"image": image})
    errors = {}
    for cut in cuts:
        sent = [spec.name for spec in cut.tensors]
        heads = {"paddle": save(program, cut.edge, ["image"], sent, folder / "head")}
        heads["lite"] = LiteRuntime(convert_to_nb(folder / "head", folder / "head.nb", "x86"))
        read = {name for op in cut.cloud for name in op.inputs}
        rest = [name for name in names if name not in sent]
        tail = save(program, cut.cloud, [name for name in sent if name in read], rest, folder / "tail")
        for runtime, head in heads.items():
            outputs = run_part(tail, run_part(head, {"image": image}, sent), names)
            where = f"{cut.name} in {runtime}"
            errors[where] = compare(outputs, whole, where)[1]
            assert errors[where] <= TOLERANCES["fp32"], where
    return errors


def test_every_cut_of_yolov3_tiny(yolo_weights: Path, tmp_path: Path) -> None:
    model = freeze_model("yolov3_tiny", yolo_weights)
    cuts = distinct_cuts(model.program.graph(), model.stages)
    assert len(cuts) > 40
    image, _ = to_input(read_image(sample_photos()[0]), model.preprocess)
    errors = largest_error(model, cuts, image, tmp_path)
    assert len(errors) == 2 * len(cuts)


def darknet53(width: float, side: int, folder: Path) -> FrozenModel:
    """DarkNet-53 with seeded weights whose activations neither vanish nor overflow."""
    paddle.seed(53)
    network = build_model("yolov3_darknet53", width=width)
    program, stages = trace(fold_batch_norm(network), (side, side), folder)
    family = model_family("yolov3_darknet53")
    return FrozenModel(family.name, program, family.preprocess, decode_spec(network.params), (), stages)


@pytest.mark.parametrize(
    ("width", "side"), [(0.125, 96), pytest.param(1.0, 320, marks=pytest.mark.slow)], ids=["narrow", "published"]
)
def test_every_residual_block_of_darknet53(width: float, side: int, tmp_path: Path) -> None:
    model = darknet53(width, side, tmp_path)
    graph = model.program.graph()
    blocks = [name for name in model.stages if name.split(".")[-1].startswith("block")]
    assert len(blocks) == 1 + 2 + 8 + 8 + 4
    cuts = [resolve_cut(graph, name, model.stages) for name in blocks]
    image = np.random.default_rng(0).random((1, 3, side, side), np.float32)
    largest_error(model, cuts, image, tmp_path)
