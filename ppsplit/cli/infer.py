"""`ppsplit infer`: the unsplit network on photos."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Iterator, Literal, Optional

from ppsplit.bundle import Bundle
from ppsplit.edge.job import Job, run_job
from ppsplit.edge.report import image_lines, summary_lines
from ppsplit.evaluate.whole import unsplit_bundle, whole_client
from ppsplit.export.freeze import FrozenModel
from ppsplit.export.network import find_weights, freeze_model
from ppsplit.image import list_images
from ppsplit.runtime.threads import check_threads
from ppsplit.wire import Options


def infer(
    input: Path,
    bundle: Optional[Path] = None,
    program: Optional[Path] = None,
    model: str = "yolov3_tiny",
    weights: Optional[Path] = None,
    output: Path = Path("output/infer"),
    score_threshold: Optional[float] = None,
    max_detections: Optional[int] = None,
    runtime: Literal["paddle", "onnx", "openvino"] = "paddle",
    threads: int = 1,
    rounds: int = 1,
    draw: bool = True,
    json: Optional[Path] = None,
) -> None:
    """Run a whole, unsplit network on photos; draw and report what it finds.

    Args:
        input: A photo or a folder of photos.
        bundle: Take the whole network of this bundle.
        program: Take this frozen program instead, a folder of `ppsplit export` or a .pdmodel file.
        model: Without either, the network to build, such as yolov3_tiny, yolo11n, yolov8n-seg or resnet50.
        weights: Its weight file; by default the zoo's for this network.
        output: Folder for drawn pictures.
        score_threshold: Drop objects below this score; by default the model's own.
        max_detections: Keep so many objects per picture; by default the model's own.
        runtime: What runs the network; onnx with a bundle that was exported with --format onnx.
        threads: Threads of the runtime.
        rounds: Do everything this often and report medians.
        draw: Whether to draw pictures.
        json: Where to write the report; by default detections.json in the output folder.
    """
    images = list_images(input)
    options = Options(score_threshold=score_threshold, max_detections=max_detections)
    report_path = json or output / "detections.json"
    job = Job(images, output, report_path, draw, rounds=rounds)
    check_threads(threads)
    with _opened(bundle, program, model, weights) as opened:
        settings = {"bundle": opened.manifest.name, "cut": None, "encoding": None, "runtime": runtime, "server": None}
        report = run_job(whole_client(opened, options, threads, runtime), job, settings)
    print("\n".join([*image_lines(report), *summary_lines(report["summary"]), "", f"report: {report_path}"]))


@contextlib.contextmanager
def _opened(bundle: Optional[Path], program: Optional[Path], model: str, weights: Optional[Path]) -> Iterator[Bundle]:
    if bundle is not None:
        yield Bundle.open(bundle)
        return
    frozen = FrozenModel.load(program) if program else freeze_model(model, find_weights(model, weights))
    with unsplit_bundle(frozen) as made:
        yield made
