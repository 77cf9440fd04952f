"""What a quantization report's figures mean, in sentences; none is written without the figures behind it."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ppsplit.bundle.precision import MIXED

INACCURATE = 10  # times the error of the same precision in Paddle Inference
BLAMED_SHARE = 0.25  # of the error: a layer that costs less is not worth a sentence
Row = Mapping[str, Any]


def findings(heads: Sequence[Row], layers: Sequence[Row]) -> List[str]:
    """Sentences on the rows of `quant_report`.

    Args:
        heads: rows of `cost_rows` with `runtime_errors`, and AP where it was measured.
        layers: rows of `Blame`.
    """
    quantized = [row for row in heads if row["precision"] != "fp32"]
    said = [_arithmetic(row) for row in quantized]
    said += [sentence for row in quantized for sentence in [_inaccurate(row, heads)] if sentence]
    said += _blamed(layers)
    best = _smallest_within_a_point(quantized)
    return said + ([best] if best else [])


def _arithmetic(row: Row) -> str:
    work = ", ".join(f"{count} in {kind}" for kind, count in sorted(row["matrix_work"].items())) or "none seen"
    times = f"{row['head_ratio']:.2f} times the milliseconds of fp32, {row['head_mib']:.0f} MiB for the head"
    sentence = f"{row['name']}: {row['says']} (convolutions and matrix products: {work}; {row['evidence']}); {times}."
    if row["precision"] == MIXED:
        sentence += " The packed integers are unpacked to fp32 in memory before the runtime sees them."
    elif row["int8_share"] == 0 and row["runtime"] == "lite" and row["bytes_ratio"] < 1:
        sentence += " Paddle Lite turns the integers back to fp32 when it loads them."
    if row["packed_bytes"]:
        sentence += (
            f" The file with integers has {row['packed_bytes']:,} bytes; what runs are the same weights, rounded and "
            f"kept as fp32, in {row['bytes']:,} bytes."
        )
    return sentence


def _inaccurate(row: Row, heads: Sequence[Row]) -> Optional[str]:
    """A head that gives no numbers, or one of Paddle Lite far worse than the same precision in Paddle Inference."""
    if not math.isfinite(row["output_error"]):
        return f"{row['name']} gives values that are not finite; do not use it."
    same: Dict[str, Row] = {r["runtime"]: r for r in heads if r["precision"] == row["precision"]}
    if row["runtime"] != "lite" or "paddle" not in same:
        return None
    here, there = row["output_error"], same["paddle"]["output_error"]
    if not here > INACCURATE * there:
        return None
    cost = ""
    if "ap_points" in row and "ap_points" in same["paddle"]:
        cost = f" (AP {row['ap_points']:+.2f} points against {same['paddle']['ap_points']:+.2f})"
    return (
        f"{row['name']} is inaccurate: relative squared error {here:.1e} against {there:.1e} in Paddle Inference"
        f"{cost}. On this processor, run this precision in Paddle Inference (--runtime paddle)."
    )


def _blamed(layers: Sequence[Row]) -> List[str]:
    said = []
    for precision in dict.fromkeys(row["precision"] for row in layers):
        worst = next(row for row in layers if row["precision"] == precision and row["blame_rank"] == 1)
        if worst["error_recovered_share"] >= BLAMED_SHARE:
            said.append(
                f"{precision}: {worst['layer']} costs more than any other layer; put back to fp32, it takes "
                f"{worst['error_recovered_share']:.0%} of the error away."
            )
    return said


def _smallest_within_a_point(quantized: Sequence[Row]) -> Optional[str]:
    """Of those files that a runtime loads as they are."""
    fit = [row for row in quantized if row.get("ap_points", -100.0) >= -1 and not row["packed_bytes"]]
    if not fit:
        return None
    row = min(fit, key=lambda each: int(each["bytes"]))
    return (
        f"The smallest file that costs no more than a point of AP is {row['name']}: {row['bytes']:,} bytes, "
        f"{row['bytes_ratio']:.1%} of fp32 in the same runtime, {row['ap_points']:+.2f} points "
        f"[{row['ap_points_low']:+.2f}, {row['ap_points_high']:+.2f}] on {row['images']} images."
    )
