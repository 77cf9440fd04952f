"""AP and bytes against the rate of flipped bits, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Sequence

from ppsplit.files import write_figure_atomically


def plot_bit_errors(rows: Sequence[Dict[str, Any]], path: Path) -> None:
    """Draw `bit_error_table`'s rows in two panels; the path's suffix chooses the format."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (accuracy, size) = pyplot.subplots(1, 2, figsize=(12, 4.6), constrained_layout=True)
    encodings = list(dict.fromkeys(row["encoding"] for row in rows))
    for number, encoding in enumerate(encodings):
        noisy: List[Dict[str, Any]] = [r for r in rows if r["encoding"] == encoding and r["bit_error_rate"]]
        rates, colour = [row["bit_error_rate"] for row in noisy], f"C{number}"
        accuracy.plot(rates, [row["ap_unchecked"] for row in noisy], "o-", color=colour, label=encoding)
        accuracy.plot(rates, [row["ap_checked"] for row in noisy], "x:", color=colour)
        size.plot(rates, [row["sent_bytes"] / 1000 for row in noisy], "x:", color=colour, label=encoding)
    accuracy.set_ylabel("AP (o: no checksum; x: damaged messages sent again)")
    size.set_ylabel("kB sent per image, all tries")
    size.set_yscale("log")
    for axes in (accuracy, size):
        axes.set_xscale("log")
        axes.set_xlabel("bit error rate")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    write_figure_atomically(path, figure, dpi=120)
    pyplot.close(figure)
