"""A training's logs as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Sequence

import numpy as np

from ppsplit.files import write_figure_atomically
from ppsplit.train.log import read_log


def plot_loss(log: Path, picture: Path, parts: Sequence[str]) -> None:
    """Draw the loss and its parts over the steps of `log`, each as a running mean."""
    rows = read_log(log)
    window = max(1, len(rows) // 100)
    _draw(rows, ("loss", *parts), picture, f"loss (mean of {window} steps)", window, log_scale=True)


def plot_ap(log: Path, picture: Path) -> None:
    """Draw AP and AP50 over the steps of `log`."""
    _draw(read_log(log), ("ap", "ap50"), picture, "average precision", 1, log_scale=False)


def _draw(
    rows: List[Dict[str, str]], names: Sequence[str], picture: Path, label: str, window: int, log_scale: bool
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), constrained_layout=True)
    steps = np.array([float(row["step"]) for row in rows])
    for name in names:
        values = np.array([float(row[name]) for row in rows])
        if len(values) >= window:
            smooth = np.convolve(values, np.ones(window) / window, "valid")
            axes.plot(steps[window - 1 :], smooth, label=name, marker="o" if len(rows) < 40 else None, markersize=3)
    axes.set_xlabel("step")
    axes.set_ylabel(label)
    if log_scale:
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend()
    write_figure_atomically(picture, figure, dpi=110)
    pyplot.close(figure)
