"""`ppsplit export-split`: a bundle with the two halves of a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Literal, Optional, Tuple

from ppsplit.cli.options import Names
from ppsplit.cli.quantizing import check_choices, chosen_quantizers, photos, with_preprocessing
from ppsplit.cli.tables import print_table
from ppsplit.errors import ConfigError
from ppsplit.export.freeze import FrozenModel
from ppsplit.export.graph import GraphCut, distinct_cuts
from ppsplit.export.lite import TARGETS
from ppsplit.export.network import find_weights, freeze_model
from ppsplit.export.split import SplitPlan, export_bundle
from ppsplit.models import MODELS


def export_split(
    model: str = "yolov3_tiny",
    program: Optional[Path] = None,
    resize: Optional[Literal["letterbox", "stretch", "crop"]] = None,
    mean: Optional[Tuple[float, float, float]] = None,
    std: Optional[Tuple[float, float, float]] = None,
    weights: Optional[Path] = None,
    cfg: Optional[Path] = None,
    input_hw: Optional[Tuple[int, int]] = None,
    prune: bool = False,
    cut: Names = [],  # noqa: B006  only read
    quant: Names = [],  # noqa: B006
    edge_memory: Optional[str] = None,
    bits: Names = [],  # noqa: B006
    nb: Names = ["x86", "arm"],  # noqa: B006
    with_tail: bool = False,
    calibration_images: Optional[Path] = None,
    calibration_count: int = 32,
    certify_images: Optional[Path] = None,
    certify_count: int = 4,
    list_cuts: bool = False,
    output: Optional[Path] = None,
    format: Literal["paddle", "onnx"] = "paddle",
    json: Optional[Path] = None,
) -> None:
    """Cut a network in two and write a certified bundle.

    Args:
        model: The network, such as yolov3_tiny, yolo11n, yolov8n-seg or resnet50.
        program: Cut this frozen Paddle program instead: a folder of `ppsplit export`, or a .pdmodel file.
        resize: How photos become the input of a .pdmodel from elsewhere; by default stretch.
        mean: Likewise, subtracted from R, G, B in 0..1; by default 0.
        std: Likewise, divided by; by default 1.
        weights: Weight file; by default the zoo's for this network, fetched if need be.
        cfg: Darknet's description of the network, to be checked against ours.
        input_hw: Input height and width in pixels; by default the network's own.
        prune: Take the pruned model from pruned_model/.
        cut: Where to cut, one or several names; by default the network's own choice. See --list-cuts.
        quant: Precisions of the client half beside fp32, the first becomes its default: int8 and int16 (weights alone),
            ptq or ptq-kl, -hist, -mse, -aciq, -lapq (weights and activations in int8, by calibration), qat (likewise,
            with the clips of a checkpoint that was fine-tuned for it), mixed (bits of their own for each layer).
        edge_memory: For mixed, what weights and activations may take together, such as 2MiB, 500KiB or 1.5MB.
        bits: For mixed in its place, bits of layers by name, the first that fits wins; conv4=4,conv*=6, else 8.
        nb: Paddle Lite targets to convert for, x86 and arm.
        with_tail: Also convert the server half for the edge.
        calibration_images: Folder of photos for the ranges of codec and quantizers; by default the packaged samples.
        calibration_count: How many of them to use.
        certify_images: Folder of photos to prove the halves on; by default the packaged sample photos.
        certify_count: How many of them to use.
        list_cuts: Print every distinct cut and stop.
        output: Folder to write; by default freezed/MODEL-split.
        format: With onnx, write the whole and the halves of every cut as ONNX, too, in fp32, checked in ONNX Runtime.
        json: Write the printed table there too: the cuts, or each cut's certificates.
    """
    quantizers = chosen_quantizers(quant, edge_memory, bits, weights)
    check_choices("nb", nb, TARGETS)
    frozen = with_preprocessing(_frozen(model, program, weights, cfg, input_hw, prune), resize, mean, std)
    if list_cuts:
        print_table(cut_rows(frozen), title=f"cuts of {frozen.name}", json_path=json)
        return
    cuts = list(cut) or ([MODELS[model].default_cut] if program is None else [])
    if not cuts:
        raise ConfigError("a program from elsewhere has no default cut; choose one with --cut (see --list-cuts)")
    plan = SplitPlan(
        cuts=tuple(dict.fromkeys(cuts)),
        quant=quantizers.precisions,
        nb_targets=tuple(dict.fromkeys(nb)),
        with_tail=with_tail,
        calibration_images=photos(calibration_images, calibration_count),
        certify_images=photos(certify_images, certify_count),
        memory_bytes=quantizers.memory_bytes,
        bits=quantizers.bits,
        clips=quantizers.clips,
        onnx=format == "onnx",
    )
    bundle = export_bundle(frozen, plan, output or Path("freezed") / f"{frozen.name}-split")
    rows = [{"name": written.name, **vars(made)} for written in bundle.manifest.cuts for made in written.certificates]
    print_table(rows, title="the halves against the whole", json_path=json)
    print(f"bundle {bundle.root}, fingerprint {bundle.manifest.fingerprint[:12]}")


def cut_rows(frozen: FrozenModel) -> List[Dict[str, Any]]:
    """One row for each distinct cut of a frozen model."""
    return [_cut_row(cut) for cut in distinct_cuts(frozen.program.graph(), frozen.stages)]


def _cut_row(cut: GraphCut) -> Dict[str, Any]:
    known = all(size > 0 for spec in cut.tensors for size in spec.shape[1:])  # export measures the others
    return {
        "name": cut.name,
        "tensors": " + ".join("x".join(str(size) for size in spec.shape[1:]) for spec in cut.tensors),
        "fp32_bytes": sum(spec.bytes_per_image() for spec in cut.tensors) if known else None,
        "int8_bytes": sum(spec.bytes_per_image(8) for spec in cut.tensors) if known else None,
        "edge_macs_share": round(cut.edge_macs_share, 4),
        "edge_params_share": round(cut.edge_params_share, 4),
    }


def _frozen(
    model: str,
    program: Optional[Path],
    weights: Optional[Path],
    cfg: Optional[Path],
    input_hw: Optional[Tuple[int, int]],
    prune: bool,
) -> FrozenModel:
    if program is None:
        return freeze_model(model, find_weights(model, weights, prune), input_hw, cfg)
    if weights or cfg or input_hw or prune:
        raise ConfigError("--program is frozen already; --weights, --cfg, --input-hw and --prune do not go with it")
    return FrozenModel.load(program)
