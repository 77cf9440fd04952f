"""A training's progress as a bar on the error stream."""

from __future__ import annotations

from typing import Any, Dict

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ppsplit.train.listener import Listener, Step

BAR = 8  # columns


class TrainingBar(Listener):
    """Steps as a bar with the loss, images a second and the time left, in 80 columns; AP as lines above it."""

    def __init__(self, shown: bool = True) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(BAR), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(
            *columns, TextColumn("{task.fields[state]}"), console=Console(stderr=True), disable=not shown
        )
        self._tasks: Dict[str, TaskID] = {}
        self._done: Dict[str, int] = {}

    def __enter__(self) -> "TrainingBar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def stepped(self, step: Step) -> None:
        """Move the bar."""
        figures = f"loss {step.row['loss']:.4g} {step.row['images_per_s']:.3g} images/s"
        state = f"{figures} {clock(step.seconds_left)} left"
        self._show("learning", f"epoch {step.epoch + 1}", step.step, step.steps, state)

    def counted(self, what: str, done: int, total: int) -> None:
        """Move a bar of its own."""
        self._show(what, what, done, total, "")

    def _show(self, key: str, description: str, done: int, total: int, state: str) -> None:
        if key not in self._tasks:
            self._tasks[key] = self._bar.add_task("", total=total, state="")
        if done < self._done.get(key, 0):  # begun once more, and its clock with it
            self._bar.reset(self._tasks[key])
        self._done[key] = done
        self._bar.update(self._tasks[key], completed=done, total=total, description=description, state=state)

    def measured(self, row: Dict[str, Any]) -> None:
        """Print AP above the bar."""
        self.say(f"after epoch {row['epoch'] + 1}: AP {row['ap']:.4f}, AP50 {row['ap50']:.4f}")


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
