"""The one printer of tables: to the terminal, and as JSON beside it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from ppsplit.files import write_json_atomically

PLAIN_WIDTH = 240  # of what is not a terminal: a log wraps no columns
MISSING = "–"


def print_table(
    rows: Sequence[Mapping[str, Any]],
    columns: Optional[Sequence[str]] = None,
    title: str = "",
    json_path: Optional[Path] = None,
    about: Optional[Mapping[str, Any]] = None,
) -> None:
    """Print rows, and write them as `{"rows": [...]}` where asked.

    Args:
        rows: Column name, with its unit, to value; a row may lack columns.
        columns: Which to print, in this order; by default all, as they first appear. All are written.
        title: Printed above.
        json_path: Where to write.
        about: Written as "about" beside "rows": how the table was made.
    """
    names = list(columns) if columns is not None else list(dict.fromkeys(name for row in rows for name in row))
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        is_number = all(_is_number(row[name]) for row in rows if row.get(name) is not None)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell(row.get(name)) for name in names))
    _show(table)
    if json_path is not None:
        write_table(json_path, rows, about)


def _show(table: Table) -> None:
    console = Console(markup=False, highlight=False)
    if console.is_terminal:
        console.print(table)
        return
    console.width = PLAIN_WIDTH
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], about: Optional[Mapping[str, Any]] = None) -> Path:
    """Write `{"rows": [...]}`, with "about" first where given; what is not finite becomes null."""
    values: Dict[str, Any] = {} if about is None else {"about": plain(about)}
    return write_json_atomically(path, {**values, "rows": plain(list(rows))})


def cell(value: Any) -> str:
    """A value as a table shows it: four significant digits, thousands set apart."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {cell(item)}" for name, item in value.items())
    if not _is_number(value):
        return str(value)
    if math.isfinite(value) and value == int(value):
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


def plain(value: Any) -> Any:
    """The same for JSON: numpy scalars and paths unwrapped, numbers that are not finite null."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _is_number(value: Any) -> bool:
    return not isinstance(value, (bool, str)) and hasattr(value, "__float__")
