"""The programs of a bundle as ONNX files beside them: the whole, and head and tail of every cut."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Callable, Dict, List, Sequence, Tuple

import numpy as np

from ppsplit.bundle import HEAD, TAIL, Cut, ProgramFiles
from ppsplit.bundle.precision import FP32
from ppsplit.export.onnx import write_onnx
from ppsplit.export.program import MODEL_SUFFIX, FrozenProgram
from ppsplit.export.reference import run_plainly

Feeds = List[Dict[str, np.ndarray]]
Programs = Tuple[ProgramFiles, ...]


def with_onnx(
    folder: Path, full: Programs, cuts: Sequence[Cut], feeds: Feeds, progress: Callable[[str], None]
) -> Tuple[Programs, List[Cut]]:
    """Write them; returns both, with what was written listed last.

    Args:
        folder: where the bundle is made; the programs for Paddle lie in it.
        feeds: the network's input by its name, one image each, on which every file is checked.

    Raises:
        ConversionError: paddle2onnx cannot take a part.
        CertificationError: an ONNX file computes something else than its program.
    """
    progress("the whole as ONNX")
    whole = [_written(folder, program, feeds) for program in full]
    found = []
    for cut in cuts:
        progress(f"cut {cut.name} as ONNX")
        heads, tails = (_exact(cut, part) for part in (HEAD, TAIL))
        added = [_written(folder, program, feeds) for program in heads]
        if tails:
            crossing = [_with_features(folder, heads, image) for image in feeds]
            added += [_written(folder, program, crossing) for program in tails]
        found.append(dataclasses.replace(cut, programs=(*cut.programs, *added)))
    return (*full, *whole), found


def _exact(cut: Cut, part: str) -> List[ProgramFiles]:
    """The fp32 program of a part in a list, or nothing where the part computes nothing."""
    return [p for p in cut.programs if (p.part, p.runtime, p.precision) == (part, "paddle", FP32)]


def _prefix(program: ProgramFiles) -> str:
    return program.files["model"][: -len(MODEL_SUFFIX)]


def _with_features(folder: Path, heads: Sequence[ProgramFiles], image: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """What a tail may read: the network's input, and what the head makes of it."""
    found = dict(image)
    for head in heads:
        found.update(run_plainly(FrozenProgram.load(folder / _prefix(head)), image, head.outputs))
    return found


def _written(folder: Path, program: ProgramFiles, feeds: Feeds) -> ProgramFiles:
    name = f"{_prefix(program)}.onnx"
    write_onnx(FrozenProgram.load(folder / _prefix(program)), folder / name, feeds)
    return dataclasses.replace(program, runtime="onnx", files={"onnx": name})
