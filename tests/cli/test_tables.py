"""The one table printer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppsplit.cli.tables import cell, print_table, write_table

ROWS = [
    {"name": "full", "ap": 0.19612, "payload_bytes": 1384448},
    {"name": "split/uint8", "ap": np.float32(0.195), "payload_bytes": np.int64(20211), "note": "[bold]x[/bold]"},
]


def test_all_columns_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(ROWS, title="a table")
    out = capsys.readouterr().out
    assert "a table" in out and "1,384,448" in out and "0.1961" in out
    assert "[bold]x[/bold]" in out and "–" in out


def test_chosen_columns_are_printed_and_all_are_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    print_table(ROWS, columns=("name", "ap"), json_path=tmp_path / "new" / "t.json", about={"cpu": "a"})
    assert "payload_bytes" not in capsys.readouterr().out
    written = json.loads((tmp_path / "new" / "t.json").read_text(encoding="utf-8"))
    assert written["about"] == {"cpu": "a"}
    assert written["rows"][0] == ROWS[0] and written["rows"][1]["payload_bytes"] == 20211
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["t.json"]


def test_no_rows(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    print_table([], title="nothing", json_path=tmp_path / "t.json")
    assert json.loads((tmp_path / "t.json").read_text(encoding="utf-8")) == {"rows": []}


def test_what_is_not_finite_becomes_null(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.json", [{"ap": float("nan"), "ms": np.float64("inf"), "path": Path("a/b")}])
    assert json.loads(path.read_text(encoding="utf-8"))["rows"] == [{"ap": None, "ms": None, "path": "a/b"}]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "inf"),
        (True, "yes"),
        (0, "0"),
        (2.0, "2"),
        (12345, "12,345"),
        (12345.678, "12,345.7"),
        (0.000012345, "1.234e-05"),
        (-3.14159, "-3.142"),
        ("a", "a"),
        (["a", 2], "a, 2"),
        ({"head": 1.5}, "head 1.5"),
    ],
)
def test_cells(value: Any, shown: str) -> None:
    assert cell(value) == shown
