"""The pictures of a quantization report, as PNG bytes."""

from __future__ import annotations

import io
import math
from typing import Any, Dict, List, Mapping, Sequence

import numpy as np

Row = Mapping[str, Any]
DPI = 110
RUNTIME_COLOURS = {"paddle": "tab:blue", "lite": "tab:orange"}
TOP_DB = 100.0  # where a layer without any noise is drawn


def report_pictures(report: Mapping[str, Any]) -> Dict[str, bytes]:
    """Caption to picture, for one cut's report (`quant_report`); what was not measured has none."""
    heads, layers = report["heads"], report["layers"]
    pictures: Dict[str, bytes] = {}
    if layers:
        pictures["Signal to quantization noise of each layer's output, all layers quantized"] = _sqnr(layers)
        pictures["Blame: share of the head's error that goes when one layer is put back to fp32"] = _blame(layers)
    if any("ap_points" in row for row in heads):
        pictures["AP less fp32's, and each file in % of fp32's; bars are 95 % bootstrap intervals over images"] = (
            _accuracy(heads)
        )
    pictures["Milliseconds and memory of each head"] = _costs(heads)
    pictures["Error of the head's outputs in its own runtime"] = _errors(heads)
    return pictures


def _figure(width: float, height: float, columns: int = 1) -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot.subplots(1, columns, figsize=(width, height), constrained_layout=True)


def _png(figure: Any) -> bytes:
    from matplotlib import pyplot

    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI)
    pyplot.close(figure)
    return stream.getvalue()


def _colour(row: Row) -> str:
    return RUNTIME_COLOURS.get(row["runtime"], "tab:gray")


def _ordered(rows: Sequence[Row], column: str) -> List[str]:
    return list(dict.fromkeys(str(row[column]) for row in rows))


def _sqnr(layers: Sequence[Row]) -> bytes:
    names = _ordered(layers, "layer")
    figure, axes = _figure(9, 4.5)
    for number, precision in enumerate(_ordered(layers, "precision")):
        rows = [row for row in layers if row["precision"] == precision]
        values = [min(row["sqnr_db"], TOP_DB) for row in rows]
        marker = "osD^vP*X"[number % 8]
        axes.plot(range(len(rows)), values, marker=marker, color=f"C{number % 10}", label=precision, alpha=0.85)
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
    axes.set_ylabel("SQNR, dB (higher is better)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=1, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return _png(figure)


def _blame(layers: Sequence[Row]) -> bytes:
    names, precisions = _ordered(layers, "layer"), _ordered(layers, "precision")
    shares = {(row["precision"], row["layer"]): row["error_recovered_share"] for row in layers}
    values = np.array([[shares.get((p, n), math.nan) for n in names] for p in precisions])
    figure, axes = _figure(max(5.0, 1.6 + 0.85 * len(names)), 1.6 + 0.45 * len(precisions))
    image = axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        dark = abs(value) > 0.6
        axes.text(column, row, f"{value:.0%}", ha="center", va="center", fontsize=8, color="w" if dark else "k")
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
    axes.set_yticks(range(len(precisions)), precisions)
    figure.colorbar(image, ax=axes, label="of the error")
    return _png(figure)


def _accuracy(heads: Sequence[Row]) -> bytes:
    rows = [row for row in heads if "ap_points" in row and row["precision"] != "fp32"]
    figure, axes = _figure(9, 1.2 + 0.32 * max(len(rows), 1))
    for place, row in enumerate(rows):
        points = row["ap_points"]
        ends = [[max(points - row["ap_points_low"], 0)], [max(row["ap_points_high"] - points, 0)]]
        axes.errorbar(points, place, xerr=ends, fmt="o", color=_colour(row), capsize=3)
    axes.axvline(0, color="0.4", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [f"{row['name']} ({row['bytes_ratio']:.0%})" for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("AP less fp32's, points (1 = 0.01)")
    axes.grid(alpha=0.3)
    return _png(figure)


def _costs(heads: Sequence[Row]) -> bytes:
    names = [row["name"] for row in heads]
    figure, (left, right) = _figure(10, 1.4 + 0.32 * len(heads), 2)
    places = np.arange(len(heads))
    for axes, column, label in ((left, "head_ms", "head, ms (median)"), (right, "head_mib", "head, MiB of memory")):
        bars = axes.barh(places, [row[column] for row in heads], color=[_colour(row) for row in heads])
        axes.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
        axes.margins(x=0.15)
        axes.set_xlabel(label)
        axes.set_yticks(places, names if axes is left else [""] * len(names))
        axes.invert_yaxis()
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.3)
    return _png(figure)


def _errors(heads: Sequence[Row]) -> bytes:
    rows = [row for row in heads if row["output_error"] > 0]
    figure, axes = _figure(9, 1.2 + 0.32 * max(len(rows), 1))
    places = np.arange(len(rows))
    bars = axes.barh(places, [row["output_error"] for row in rows], color=[_colour(row) for row in rows])
    axes.bar_label(bars, labels=[f"{row['output_error']:.1e}" for row in rows], fontsize=8, padding=2)
    axes.set_yticks(places, [row["name"] for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.set_xlabel("relative squared error against fp32 in Paddle (log scale)")
    axes.grid(axis="x", alpha=0.3)
    return _png(figure)
