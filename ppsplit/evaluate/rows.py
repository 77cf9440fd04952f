"""The rows of the results table: which way a photo can go, and the edge client's arguments for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Sequence, Tuple

from ppsplit.bundle import HEAD, Bundle, Cut
from ppsplit.codec import FEATURE
from ppsplit.runtime import runs_here

ENCODINGS = ("fp32", "fp16", "uint8", "uint4")
JPEG_QUALITIES = (50, 75, 90)
FULL_ROW, EDGE_ONLY_ROW = "full", "edge-only"


@dataclass(frozen=True)
class Row:
    """One way of a photo through the system.

    Attributes:
        name: of the row, with "@CUT" behind it where it is not the bundle's first cut.
        cut: where the network is divided; "input" when the picture itself is sent.
        edge_macs_share: the edge's part of the work, 0..1.
        runtime, precision: of the edge's half; "" where it computes nothing.
        encoding: of what is sent.
        arguments: for `python -m ppsplit.edge`.
    """

    name: str
    cut: str
    edge_macs_share: float
    runtime: str
    precision: str
    encoding: str
    arguments: Tuple[str, ...]


def planned_rows(bundle: Bundle) -> List[Row]:
    """Every row that this bundle has the parts for and this machine can run, rivals that send JPEG included."""
    rows = [
        row
        for cut in bundle.manifest.cuts
        if any(program.runtime == "paddle" for program in cut.programs if program.part == HEAD)
        for row in _split_rows(cut, "" if cut is bundle.manifest.cuts[0] else f"@{cut.name}")
    ]
    return rows + [_jpeg_row(quality) for quality in JPEG_QUALITIES]


def _split_rows(cut: Cut, suffix: str) -> List[Row]:
    heads = [program for program in cut.programs if program.part == HEAD and runs_here(program)]
    encodings = ENCODINGS if cut.learned is None else (*ENCODINGS, FEATURE)
    rows = [_row(f"split/{encoding}{suffix}", cut, "paddle", "fp32", encoding) for encoding in encodings]
    for program in heads:
        if program.runtime == "paddle" and program.precision != "fp32":
            rows.append(_row(f"client/{program.precision}{suffix}", cut, "paddle", program.precision, "uint8"))
    for program in heads:
        if program.runtime == "lite":
            precision = "" if program.precision == "fp32" else f"-{program.precision}"
            name = f"nb/{program.target}{precision}{suffix}"
            rows.append(_row(name, cut, "lite", program.precision, "uint8"))
    return rows


def _row(name: str, cut: Cut, runtime: str, precision: str, encoding: str) -> Row:
    arguments = _arguments(cut=cut.name, runtime=runtime, precision=precision, encoding=encoding)
    return Row(name, cut.name, cut.edge_macs_share, runtime, precision, encoding, arguments)


def _jpeg_row(quality: int) -> Row:
    return Row(f"jpeg/q{quality}", "input", 0.0, "", "", f"jpeg q{quality}", _arguments(jpeg=quality))


def edge_only_row(runtime: str) -> Row:
    """The rival that sends nothing; for a bundle whose only cut is "output"."""
    arguments = ("--local", *_arguments(cut="output", runtime=runtime, precision="fp32"))
    return Row(EDGE_ONLY_ROW, "output", 1.0, runtime, "fp32", "", arguments)


def _arguments(**options: object) -> Tuple[str, ...]:
    return tuple(word for name, value in options.items() for word in (f"--{name}", str(value)))


def select(rows: Sequence[Row], wanted: Sequence[str]) -> List[Row]:
    """Those rows whose name is in `wanted`, or starts with it up to a "/" or "@"; all when it is empty."""
    if not wanted:
        return list(rows)
    return [row for row in rows if any(row.name == w or row.name.startswith((f"{w}/", f"{w}@")) for w in wanted)]
