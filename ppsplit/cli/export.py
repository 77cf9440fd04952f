"""`ppsplit export`: a network and its weights as one frozen program."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Optional, Tuple

from ppsplit.data.sample_photos import sample_photos
from ppsplit.export.network import find_weights, freeze_model
from ppsplit.image import read_image, to_input


def export(
    model: str = "yolov3_tiny",
    weights: Optional[Path] = None,
    cfg: Optional[Path] = None,
    input_hw: Optional[Tuple[int, int]] = None,
    prune: bool = False,
    output: Optional[Path] = None,
    format: Literal["paddle", "onnx"] = "paddle",
) -> None:
    """Freeze a network for inference: batch norm folded, batch size open.

    Args:
        model: The network, such as yolov3_tiny, yolo11n, yolov8n-seg or resnet50.
        weights: Weight file; by default the zoo's for this network, fetched if need be.
        cfg: Darknet's description of the network, to be checked against ours.
        input_hw: Input height and width in pixels; by default the network's own.
        prune: Take the pruned model from pruned_model/.
        output: Folder to write; by default freezed/MODEL.
        format: With onnx, write model.onnx there, too, checked in ONNX Runtime on the packaged sample photos.
    """
    frozen = freeze_model(model, find_weights(model, weights, prune), input_hw, cfg)
    directory = frozen.save(output or Path("freezed") / model)
    graph = frozen.program.graph()
    print(
        f"{directory}: {model}, {graph.macs / 1e9:.2f} GMACs, "
        f"{sum(graph.parameter_elements.values()) / 1e6:.2f} M parameters, {len(graph.operators)} operators"
    )
    if format == "onnx":
        from ppsplit.export.onnx import write_onnx  # of the extra ppsplit[onnx]

        name = graph.inputs[0]
        feeds = [{name: to_input(read_image(photo), frozen.preprocess)[0]} for photo in sample_photos()]
        error = write_onnx(frozen.program, directory / "model.onnx", feeds)
        print(f"{directory / 'model.onnx'}: differs from the program by {error:.1e} relative in ONNX Runtime")
