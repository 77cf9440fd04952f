"""Bytes against AP and against divergence, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Sequence

from ppsplit.files import write_figure_atomically

STYLES = {
    "feature": ("o-", "tab:blue"),
    "mosaic": ("v-", "tab:purple"),
    "jpeg": ("D--", "tab:orange"),
    "webp": ("s--", "tab:green"),
    "avif": ("^--", "tab:red"),
}
PLAIN = ("x", "0.35")


def plot_rate(rows: Sequence[Dict[str, Any]], path: Path) -> None:
    """Draw `rate_table`'s rows in two panels, bytes and divergence on logarithmic scales.

    What moves scores not at all, or far less than the ways with a dial, is not in the second panel. The suffix chooses
    the format.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [("ap", "AP (IoU .50:.95)")]
    if any(row["score_kl"] is not None for row in rows):
        panels.append(("score_kl", "divergence of scores, nats per image"))
    figure, all_axes = pyplot.subplots(1, len(panels), figsize=(6 * len(panels), 4.6), constrained_layout=True)
    for axes, (column, label) in zip(all_axes if len(panels) > 1 else [all_axes], panels):
        _draw(axes, rows, column)
        axes.set_ylabel(label)
    write_figure_atomically(path, figure, dpi=120)
    pyplot.close(figure)


def _draw(axes: Any, rows: Sequence[Dict[str, Any]], column: str) -> None:
    from matplotlib import ticker

    for row in rows:
        if not row["payload_bytes"] and column == "ap":
            axes.axhline(row["ap"], color="0.5", linestyle=":", label="nothing sent")
    dialled = [row[column] for row in rows if row["group"] in STYLES and row[column]]
    least = min(dialled, default=0.0) / 3
    groups = list(dict.fromkeys(row["group"] for row in rows if row["payload_bytes"]))
    for group in groups:
        points = [row for row in rows if row["group"] == group and (column == "ap" or row[column] > least)]
        style, colour = STYLES.get(group, PLAIN)
        kilobytes = [row["payload_bytes"] / 1000 for row in points]
        axes.plot(kilobytes, [row[column] for row in points], style, color=colour, markersize=5, label=group)
        if group not in STYLES:
            for row, at in zip(points, kilobytes):
                axes.annotate(group, (at, row[column]), fontsize=7, xytext=(3, 4), textcoords="offset points")
    handles, labels = axes.get_legend_handles_labels()
    shown = {label: handle for label, handle in zip(labels, handles) if label in STYLES or label == "nothing sent"}
    axes.legend(shown.values(), shown.keys(), fontsize=8)
    axes.set_xscale("log")
    if column == "score_kl":
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 3, 4, 5, 7)))
        axes.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.set_xlabel("bytes per image, kB (log scale)")
    axes.grid(alpha=0.3)
