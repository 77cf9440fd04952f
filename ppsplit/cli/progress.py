"""Progress of work that takes a while, on the error stream."""

from __future__ import annotations

import contextlib
from typing import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextlib.contextmanager
def row_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar over the rows of a table; yields a function of (row name, its number, how many)."""
    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("starting", total=None)

        def show(name: str, number: int, total: int) -> None:
            bar.update(task, description=name, completed=number - 1, total=total)

        yield show
        bar.update(task, description="done", completed=bar.tasks[0].total or 0)


@contextlib.contextmanager
def step_progress(steps: int) -> Iterator[Callable[[str], None]]:
    """A bar over `steps` steps; yields a function that is told what begins."""
    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("starting", total=steps, completed=-1)

        def show(what: str) -> None:
            bar.update(task, description=what, advance=1)

        yield show
        bar.update(task, description="done", completed=steps)
