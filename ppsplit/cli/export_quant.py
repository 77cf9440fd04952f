"""`ppsplit export-quant`: a frozen program, or the heads of a bundle, in other precisions."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Optional, Tuple

from ppsplit.bundle import MANIFEST, Bundle
from ppsplit.cli.options import Names
from ppsplit.cli.quantizing import PREPROCESSING, check_choices, chosen_quantizers, photos, with_preprocessing
from ppsplit.cli.tables import print_table
from ppsplit.errors import ConfigError
from ppsplit.export.freeze import FrozenModel
from ppsplit.export.lite import TARGETS
from ppsplit.export.requantize import head_rows, quantize_bundle
from ppsplit.export.split import SplitPlan, export_bundle
from ppsplit.export.staging import named

WHOLE = "output"  # the cut that leaves everything on the edge


def export_quant(
    source: Path,
    /,
    quant: Names = ["ptq"],  # noqa: B006  only read
    edge_memory: Optional[str] = None,
    bits: Names = [],  # noqa: B006
    weights: Optional[Path] = None,
    nb: Names = ["x86", "arm"],  # noqa: B006
    resize: Optional[Literal["letterbox", "stretch", "crop"]] = None,
    mean: Optional[Tuple[float, float, float]] = None,
    std: Optional[Tuple[float, float, float]] = None,
    calibration_images: Optional[Path] = None,
    calibration_count: int = 32,
    certify_images: Optional[Path] = None,
    certify_count: int = 4,
    output: Optional[Path] = None,
    json: Optional[Path] = None,
) -> None:
    """Quantize a frozen program whole, or the heads of a bundle, and show what it saves and what it costs.

    Args:
        source: A bundle; or a frozen program, a folder of `ppsplit export` or a .pdmodel file.
        quant: Precisions beside fp32, the first becomes the default; as in export-split.
        edge_memory: As in export-split, for mixed.
        bits: As in export-split, for mixed.
        weights: For qat, the checkpoint with the clips beside it.
        nb: Paddle Lite targets to convert for, x86 and arm.
        resize: How photos become the input of a .pdmodel from elsewhere; by default stretch.
        mean: Likewise, subtracted from R, G, B in 0..1; by default 0.
        std: Likewise, divided by; by default 1.
        calibration_images: Folder of photos for the quantizers' ranges; by default the packaged sample photos.
        calibration_count: How many of them to use.
        certify_images: Folder of photos to measure the errors on; by default the packaged sample photos.
        certify_count: How many of them to use.
        output: Bundle to write; by default freezed/NAME-quant. A program becomes one that is cut behind its end.
        json: Write the printed table there; by default beside the bundle.
    """
    plan = chosen_quantizers(quant, edge_memory, bits, weights)
    check_choices("nb", nb, TARGETS)
    if not plan.precisions:
        raise ConfigError("--quant names no precision; say ptq, int8, mixed, ...")
    targets = tuple(dict.fromkeys(nb))
    calibration, certification = photos(calibration_images, calibration_count), photos(certify_images, certify_count)
    if (source / MANIFEST).is_file():
        if resize or mean or std:
            raise ConfigError(f"{source} is a bundle and knows how photos become its input; leave {PREPROCESSING} out")
        opened = Bundle.open(source)
        folder = named(output or Path("freezed") / f"{opened.manifest.name}-quant")
        made = quantize_bundle(opened, plan, targets, calibration, certification, folder)
    else:
        frozen = with_preprocessing(FrozenModel.load(source), resize, mean, std)
        folder = named(output or Path("freezed") / f"{frozen.name}-quant")
        whole = SplitPlan(
            (WHOLE,),
            plan.precisions,
            targets,
            False,
            calibration,
            certification,
            plan.memory_bytes,
            plan.bits,
            plan.clips,
        )
        made = export_bundle(frozen, whole, folder)
    table = json or folder.with_name(f"{folder.name}.quant.json")
    about = {"source": source, "calibration_images": len(calibration), "certify_images": len(certification)}
    print_table(head_rows(made, certification), title="bytes and errors", json_path=table, about=about)
    print(f"bundle {made.root}, fingerprint {made.manifest.fingerprint[:12]}; table {table}")
