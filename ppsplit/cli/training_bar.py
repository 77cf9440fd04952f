"""A training's progress as a bar on the error stream."""

from __future__ import annotations

from typing import Any, Dict, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ppsplit.train.listener import Listener, Step


class TrainingBar(Listener):
    """Steps as a bar with the parts of the loss, images a second and the time left; AP as lines above it."""

    def __init__(self, parts: Sequence[str], shown: bool = True) -> None:
        self._parts = parts
        columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(
            *columns, TextColumn("{task.fields[state]}"), console=Console(stderr=True), disable=not shown
        )
        self._tasks: Dict[str, Any] = {}

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
        parts = " ".join(f"{name} {step.row[name]:.2f}" for name in ("loss", *self._parts))
        state = f"{parts} · {step.row['images_per_s']:.1f} images/s · {clock(step.seconds_left)} left"
        self._show("learning", f"epoch {step.epoch + 1}", step.step, step.steps, state)

    def counted(self, what: str, done: int, total: int) -> None:
        """Move a bar of its own."""
        self._show(what, what, done, total, "")

    def _show(self, key: str, description: str, done: int, total: int, state: str) -> None:
        if key not in self._tasks:
            self._tasks[key] = self._bar.add_task("", total=total, state="")
        self._bar.update(self._tasks[key], completed=done, total=total, description=description, state=state)

    def measured(self, row: Dict[str, Any]) -> None:
        """Print AP above the bar."""
        self.say(f"after epoch {row['epoch'] + 1}: AP {row['ap']:.4f}, AP50 {row['ap50']:.4f}")


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
