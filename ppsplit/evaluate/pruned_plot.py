"""AP of pruned networks against their work, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Sequence

from ppsplit.files import write_figure_atomically

GIGA = 1e9
PANELS = (("macs", "MACs of the whole network, in billions"), ("edge_macs", "MACs on the edge, in billions"))
SIDES = ((7, "left"), (-7, "right"))  # of a point, for its label: points of equal MACs lie above each other


def plot_ap_against_macs(rows: Sequence[Dict[str, Any]], path: Path) -> None:
    """Draw each row as a point at its AP, a hollow one at its AP before fine-tuning, against both kinds of MACs.

    Args:
        rows: as `pruned_table` returns them.
        path: the picture to write; its suffix chooses the format.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, all_axes = pyplot.subplots(1, len(PANELS), figsize=(12, 4.8), constrained_layout=True, sharey=True)
    for axes, (column, label) in zip(all_axes, PANELS):
        for number, row in enumerate(rows):
            _draw_row(axes, row, column, f"C{number}", *SIDES[number % len(SIDES)])
        axes.set_xlabel(label)
        axes.margins(y=0.1)
        axes.set_xlim(0, max(row[column] for row in rows) / GIGA * 1.2)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    all_axes[0].set_ylabel("AP (IoU .50:.95); hollow: before fine-tuning")
    write_figure_atomically(path, figure, dpi=120)
    pyplot.close(figure)


def _draw_row(axes: Any, row: Dict[str, Any], column: str, colour: str, offset: int, align: str) -> None:
    macs = row[column] / GIGA
    axes.scatter(macs, row["ap"], color=colour, zorder=3)
    near = {"xytext": (offset, 0), "textcoords": "offset points", "ha": align, "va": "center"}
    axes.annotate(row["name"], (macs, row["ap"]), fontsize=8, **near)
    if row.get("ap_untuned") is not None:
        axes.plot([macs, macs], [row["ap_untuned"], row["ap"]], color=colour, linewidth=0.8, alpha=0.6)
        axes.scatter(macs, row["ap_untuned"], facecolors="white", edgecolors=colour, zorder=3)
