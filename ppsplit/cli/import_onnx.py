"""`ppsplit import`: an ONNX file as a frozen program."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, Literal, Optional, Tuple

from ppsplit.cli.progress import step_progress
from ppsplit.cli.tables import print_table
from ppsplit.data.sample_photos import sample_photos
from ppsplit.errors import ConfigError
from ppsplit.export.graph import GraphCut
from ppsplit.image import list_images
from ppsplit.importers.import_model import ImportPlan, cut_bytes, import_model, narrow_cuts

STEPS = 3


def import_onnx(
    file: Path,
    /,
    input: Optional[str] = None,
    decode: Literal["picodet", "yolox", "yolov8", "classify", "raw"] = "raw",
    resize: Optional[Literal["letterbox", "stretch", "crop"]] = None,
    pad_pixel: Optional[float] = None,
    mean: Optional[Tuple[float, float, float]] = None,
    std: Optional[Tuple[float, float, float]] = None,
    channels: Optional[Literal["rgb", "bgr"]] = None,
    interpolation: Optional[Literal["linear", "cubic"]] = None,
    boxes_in_pixels: bool = False,
    softmax: bool = True,
    class_names: Optional[Path] = None,
    certify_images: Optional[Path] = None,
    certify_count: int = 4,
    output: Optional[Path] = None,
    json: Optional[Path] = None,
) -> None:
    """Make a frozen program of an ONNX file, certified against ONNX Runtime; `export-split --program` cuts it.

    Args:
        file: The ONNX file; its input is one picture.
        input: The input's size, such as 1x3x416x416, where the file leaves it open.
        decode: How its outputs become detections, and how photos become its input where nothing below says otherwise.
        resize: How photos are fitted to the input.
        pad_pixel: What a letterbox is filled with, 0..255.
        mean: Subtracted from R, G, B in 0..1.
        std: Divided by.
        channels: Their order in the input.
        interpolation: Of the resizing.
        boxes_in_pixels: Of yolox, the file returns boxes in pixels, not in cells.
        softmax: Of classify, the file returns logits, not probabilities.
        class_names: A text file with a name a line; by default COCO's for a detector of 80 classes.
        certify_images: Folder of photos to prove it on, beside noise; by default the packaged sample photos.
        certify_count: How many of them to use.
        output: Folder to write; by default freezed/NAME, after the file.
        json: Write the certificates and the cuts there too.
    """
    if certify_count < 1:
        raise ConfigError(f"at least one image is needed, not {certify_count}")
    photos = list_images(certify_images) if certify_images else sample_photos()
    plan = ImportPlan(
        path=file,
        input_shape=_shape(input),
        family=decode,
        fit=lambda usual: usual.but(resize, pad_pixel, mean, std, channels, interpolation),
        in_pixels=boxes_in_pixels,
        softmax=softmax,
        class_names=_names(class_names),
        photos=tuple(photos[:certify_count]),
    )
    with step_progress(STEPS) as progress:
        imported = import_model(plan, progress)
    directory = imported.frozen.save(output or Path("freezed") / imported.frozen.name)
    graph = imported.frozen.program.graph()
    certificates = [vars(certificate) for certificate in imported.certificates]
    cuts = [cut_row(cut) for cut in narrow_cuts(graph)]
    print_table(certificates, title=f"{file} against ONNX Runtime")
    print_table(
        cuts,
        title="narrow cuts: one tensor, smaller than any before",
        json_path=json,
        about={
            "file": file,
            "certificates": certificates,
            "decode": imported.frozen.decode.family,
        },
    )
    print(
        f"{directory}: {graph.macs / 1e9:.2f} GMACs, {sum(graph.parameter_elements.values()) / 1e6:.2f} M parameters, "
        f"{len(graph.operators)} operators; `ppsplit export-split --program {directory} --cut NAME` cuts it, "
        "--list-cuts prints all cuts"
    )


def cut_row(cut: GraphCut) -> Dict[str, Any]:
    """One row for a cut of one tensor."""
    return {
        "name": cut.name,
        "shape": "x".join(map(str, cut.tensors[0].shape)),
        "fp32_bytes": cut_bytes(cut),
        "int8_bytes": sum(spec.bytes_per_image(8) for spec in cut.tensors),
        "edge_macs_share": round(cut.edge_macs_share, 4),
        "edge_params_share": round(cut.edge_params_share, 4),
    }


def _shape(text: Optional[str]) -> Optional[Tuple[int, ...]]:
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,6}(x\d{1,6}){3}", text):
        raise ConfigError(f"--input {text!r} is no size; expected batch, channels, height and width, as 1x3x416x416")
    return tuple(int(size) for size in text.split("x"))


def _names(path: Optional[Path]) -> Tuple[str, ...]:
    if path is None:
        return ()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"cannot read --class-names {path}: {error.strerror}; expected a name a line") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"--class-names {path} is no text in UTF-8; expected a name a line") from error
    return tuple(line.strip() for line in lines if line.strip())
