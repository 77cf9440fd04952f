"""Files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ppsplit.files import write_figure_atomically


class Figure:
    def __init__(self, fails: bool) -> None:
        self.fails = fails

    def savefig(self, stream: Any, format: str, dpi: int) -> None:
        stream.write(f"{format} at {dpi}".encode())
        if self.fails:
            raise RuntimeError("a font is missing")


def test_a_figure_is_written_in_its_suffixs_format(tmp_path: Path) -> None:
    path = write_figure_atomically(tmp_path / "deep" / "plot.svg", Figure(fails=False), 110)
    assert path.read_bytes() == b"svg at 110"


def test_a_figure_that_fails_leaves_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "plot.png"
    path.write_bytes(b"older")
    with pytest.raises(RuntimeError):
        write_figure_atomically(path, Figure(fails=True), 110)
    assert path.read_bytes() == b"older" and [file.name for file in tmp_path.iterdir()] == ["plot.png"]
