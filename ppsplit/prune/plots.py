"""Pruning as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Sequence, Tuple

from ppsplit.files import write_figure_atomically

Row = Dict[str, Any]


def plot_sensitivity(rows: Sequence[Row], picture: Path) -> None:
    """Draw what each group's pruning alone costs against the share pruned: AP where it was measured, and distance."""
    with_ap = all(row["ap"] is not None for row in rows)
    names = list(dict.fromkeys(row["group"] for row in rows if row["group"]))
    colours = _colours(len(names))
    whole = next(row for row in rows if not row["group"])
    figure, all_axes = _figure(2 if with_ap else 1)
    measures = [("distance", "distance of the heads")] + ([("ap", "AP")] if with_ap else [])
    for axes, (measure, label) in zip(all_axes, measures):
        for name, colour in zip(names, colours):
            points = [(0.0, whole[measure])]
            points += [(1 - row["kept"] / row["channels"], row[measure]) for row in rows if row["group"] == name]
            axes.plot(*zip(*sorted(points)), marker="o", markersize=3, color=colour, label=name)
        axes.set_xlabel("share of channels pruned, this layer alone")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    if len(names) <= 20:
        all_axes[-1].legend(fontsize=8)
    _save(figure, picture)


def plot_steps(rows: Sequence[Row], picture: Path) -> None:
    """Draw AP, MACs, parameters and payload of each step, each as a share of the whole network's."""
    figure, (axes,) = _figure(1)
    labels = (("ap", "AP"), ("macs", "MACs"), ("edge_macs", "MACs on the edge"), ("parameters", "parameters"))
    for name, label in (*labels, ("payload_elements", "values that cross")):
        if all(row[name] is not None for row in rows) and rows[0][name]:
            axes.plot([r["step"] for r in rows], [r[name] / rows[0][name] for r in rows], marker="o", label=label)
    axes.set_xlabel("step")
    axes.set_ylabel("share of the whole network's")
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, picture)


def _colours(count: int) -> Any:
    """As many colours that can be told apart."""
    import matplotlib

    return matplotlib.colormaps["turbo"]([(i + 0.5) / count for i in range(count)])


def _figure(panels: int) -> Tuple[Any, Any]:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, panels, figsize=(7.5 * panels, 4.5), constrained_layout=True, squeeze=False)
    return figure, axes[0]


def _save(figure: Any, picture: Path) -> None:
    from matplotlib import pyplot

    write_figure_atomically(picture, figure, dpi=110)
    pyplot.close(figure)
