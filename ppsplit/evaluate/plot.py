"""AP, or another measure of what is right, against bytes, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Sequence

from ppsplit.files import write_figure_atomically

GROUPS = {
    "split": ("o", "tab:blue"),
    "client": ("s", "tab:purple"),
    "nb": ("^", "tab:cyan"),
    "jpeg": ("D", "tab:orange"),
}
NAMED = ("split", "jpeg")  # the others lie on top of a split and of each other


def plot_against_bytes(rows: Sequence[Dict[str, Any]], path: Path, column: str, label: str) -> None:
    """Draw each row that sends something as a point, and those that send nothing as level lines.

    Args:
        rows: as `split_table` or `class_table` returns them.
        path: the picture to write; its suffix chooses the format.
        column: of the rows, what goes upward.
        label: what to call it.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(figsize=(9, 5.5), constrained_layout=True)
    for row in rows:
        _draw_row(axes, row, column)
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles))
    axes.legend(unique.values(), unique.keys(), fontsize=8)
    axes.set_xscale("log")
    axes.margins(x=0.12, y=0.12)
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.set_xlabel("payload per image, kB (log scale)")
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    write_figure_atomically(path, figure, dpi=120)
    pyplot.close(figure)


def _draw_row(axes: Any, row: Dict[str, Any], column: str) -> None:
    if not row["payload_bytes"]:
        style = "-" if row["name"] == "full" else ":"
        axes.axhline(row[column], color="0.5", linestyle=style, label=f"{row['name']} (nothing sent)")
        return
    group = row["name"].split("/")[0]
    marker, colour = GROUPS.get(group, ("x", "black"))
    point = (row["payload_bytes"] / 1000, row[column])
    axes.scatter(*point, marker=marker, color=colour, label=group, zorder=3)
    if group in NAMED:
        axes.annotate(row["name"], point, fontsize=7, rotation=25, xytext=(3, 4), textcoords="offset points")
