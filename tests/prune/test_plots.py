"""Pictures are there whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import matplotlib.figure
import pytest

from ppsplit.evaluate.pruned_plot import plot_ap_against_macs
from ppsplit.prune.plots import plot_sensitivity, plot_steps

STEP = {"step": 0, "macs": 100, "edge_macs": 50, "parameters": 10, "payload_elements": 5, "ap": 0.2}
SENSED = [
    {"group": "", "channels": 0, "kept": 0, "distance": 0.0, "ap": 0.2},
    {"group": "conv7", "channels": 16, "kept": 8, "distance": 1.0, "ap": 0.1},
]
COMPARED = [{"name": "unpruned", "macs": 10**9, "edge_macs": 10**8, "ap": 0.2}]


def half_written(_figure: Any, target: Any, **_: Any) -> None:
    if isinstance(target, Path):
        target.write_bytes(b"half")
    else:
        target.write(b"half")
    raise OSError("the disk is full")


@pytest.mark.parametrize(
    ("draw", "rows"),
    [(plot_steps, [STEP]), (plot_sensitivity, SENSED), (plot_ap_against_macs, COMPARED)],
)
def test_an_older_picture_stays_until_all_is_written(
    draw: Callable[[Any, Path], None], rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "plots" / "picture.png"
    draw(rows, picture)
    whole = picture.read_bytes()
    assert whole.startswith(b"\x89PNG")
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", half_written)
    with pytest.raises(OSError, match="the disk is full"):
        draw(rows, picture)
    assert picture.read_bytes() == whole and list(picture.parent.iterdir()) == [picture]
