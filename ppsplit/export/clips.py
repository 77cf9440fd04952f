"""Clip values of activations that fine-tuning has learnt, in the checkpoint's folder: `activation_clips.json`.

    {"format": "ppsplit-activation-clips", "format_version": 1, "clips": {"image": 1.0, "pool1": 38.2, ...}}

A name is a stage's structural one, or the network's input; the value is the largest magnitude of the signed int8 grid.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Dict, Mapping, Optional

from ppsplit.errors import QuantizationError
from ppsplit.files import write_json_atomically

CLIPS_FILE = "activation_clips.json"
FORMAT, FORMAT_VERSION = "ppsplit-activation-clips", 1


def write_clips(checkpoint: Path, clips: Mapping[str, float]) -> Path:
    """Write clip values beside a checkpoint. Raises OSError."""
    values = {"format": FORMAT, "format_version": FORMAT_VERSION, "clips": dict(clips)}
    return write_json_atomically(checkpoint.parent / CLIPS_FILE, values)


def read_clips(checkpoint: Optional[Path]) -> Dict[str, float]:
    """The clip values beside a checkpoint.

    Raises:
        QuantizationError: there is no checkpoint, it has none, or the file is damaged.
    """
    if checkpoint is None:
        raise QuantizationError(
            "--quant qat needs --weights with a checkpoint that `python tools/train_qat.py` made; "
            "calibrate without one with --quant ptq"
        )
    path = checkpoint.parent / CLIPS_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise QuantizationError(
            f"the checkpoint {checkpoint} carries no activation clips ({path.name}: {error.strerror}); fine-tune it "
            "with `python tools/train_qat.py`, or calibrate with --quant ptq"
        ) from error
    except (ValueError, RecursionError) as error:
        raise QuantizationError(f"{path} is not JSON ({error}); fine-tune again") from error
    about = (values.get("format"), values.get("format_version")) if isinstance(values, dict) else ()
    clips = values.get("clips") if about == (FORMAT, FORMAT_VERSION) else None
    if not isinstance(clips, dict) or not all(_is_clip(clip) for clip in clips.values()):
        raise QuantizationError(f"{path} holds no activation clips of version {FORMAT_VERSION}; fine-tune again")
    return {name: float(clip) for name, clip in clips.items()}


def _is_clip(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
