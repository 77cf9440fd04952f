"""What the exporting verbs understand by --quant, --edge-memory, --bits and folders of photos."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Tuple

from ppsplit.bundle.precision import DEFAULT_PTQ, MIXED, QAT, QUANTIZED
from ppsplit.data.sample_photos import sample_photos
from ppsplit.errors import CalibrationError, ConfigError, DataError
from ppsplit.export.clips import read_clips
from ppsplit.export.freeze import RAW, FrozenModel
from ppsplit.export.heads import QuantPlan
from ppsplit.export.layers import parse_rules
from ppsplit.image import list_images

PTQ_SHORT = "ptq"
PREPROCESSING = "--resize, --mean and --std"
UNITS: Dict[str, int] = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def chosen_quantizers(
    quant: Sequence[str], edge_memory: Optional[str], bits: Sequence[str], weights: Optional[Path]
) -> QuantPlan:
    """What the options of that name ask for.

    Args:
        weights: a checkpoint; for "qat" the clips lie beside it.

    Raises:
        ConfigError: an unknown precision, a size or rule of another form, or options that do not go together.
        QuantizationError: qat, and the checkpoint has no clips.
    """
    check_choices("quant", quant, (*QUANTIZED[:2], PTQ_SHORT, *QUANTIZED[2:]))
    precisions = tuple(dict.fromkeys(DEFAULT_PTQ if name == PTQ_SHORT else name for name in quant))
    memory_bytes, rules = None if edge_memory is None else parse_bytes(edge_memory), parse_rules(bits)
    given = [option for option, value in (("--edge-memory", edge_memory), ("--bits", rules)) if value]
    if given and MIXED not in precisions:
        raise ConfigError(f"{given[0]} goes with --quant mixed, which is not asked for")
    if MIXED in precisions and len(given) != 1:
        raise ConfigError(
            "--quant mixed needs one of --edge-memory, such as 2MiB, and --bits, such as conv4=4,conv*=6; "
            f"{' and '.join(given) or 'neither'} was given"
        )
    clips = read_clips(weights) if QAT in precisions else None
    return QuantPlan(precisions, memory_bytes, rules, clips)


def parse_bytes(text: str) -> int:
    """`2MiB`, `500KiB`, `1.5MB` or plain bytes, as whole bytes > 0. Raises ConfigError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    size = float(found[1]) * UNITS[found[2].upper()] if found and found[2].upper() in UNITS else 0.0
    count = round(size) if math.isfinite(size) else 0
    if count < 1:
        raise ConfigError(f"--edge-memory {text!r} is no size; write bytes, or 2MiB, 500KiB, 1.5MB")
    return count


def photos(folder: Optional[Path], count: int) -> Tuple[Path, ...]:
    """The first `count` images of a folder, by default of the packaged samples.

    Raises:
        ConfigError: fewer than one asked for.
        CalibrationError: no folder, or no image in it.
    """
    if count < 1:
        raise ConfigError(f"at least one image is needed, not {count}")
    try:
        return tuple((list_images(folder) if folder else sample_photos())[:count])
    except DataError as error:
        raise CalibrationError(f"{error}; give a folder of photos") from error


def with_preprocessing(
    frozen: FrozenModel,
    resize: Optional[str],
    mean: Optional[Tuple[float, float, float]],
    std: Optional[Tuple[float, float, float]],
) -> FrozenModel:
    """A program from elsewhere with what is said of its input; the rest stays, because an imported one knows its own.

    Raises:
        ConfigError: something is said of a network that is not from elsewhere.
    """
    if not (resize or mean or std):
        return frozen
    if frozen.decode.family != RAW:
        raise ConfigError(f"{frozen.name} knows how photos become its input; leave {PREPROCESSING} out")
    return replace(frozen, preprocess=frozen.preprocess.but(resize=resize, mean=mean, std=std))


def check_choices(option: str, chosen: Sequence[str], known: Any) -> None:
    """Raise ConfigError for a name that is not known."""
    for name in chosen:
        if name not in known:
            raise ConfigError(f"--{option} {name!r} is unknown; choose from {', '.join(known)}")
