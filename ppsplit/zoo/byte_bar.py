"""How many bytes of a transfer are done, on the error stream."""

from __future__ import annotations

import contextlib
from typing import Iterator

from ppsplit.zoo.sources import Progress


@contextlib.contextmanager
def byte_bar(label: str) -> Iterator[Progress]:
    """A bar that is gone when the work is done; none where there is no terminal.

    Yields:
        a function of (bytes so far, bytes in all; 0 where unknown).
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Bar(TextColumn(label), *columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=None)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        yield report
