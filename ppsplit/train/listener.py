"""What a training tells of itself while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict


@dataclass(frozen=True)
class Step:
    """What one step did.

    Attributes:
        step: learnt so far, this one included.
        steps: of the whole training.
        epoch: from 0.
        row: of the log: loss, its parts, learning rate and images a second.
        seconds_left: of training, without measuring AP.
    """

    step: int
    steps: int
    epoch: int
    row: Dict[str, float]
    seconds_left: float


class Listener:
    """Hears of a training's progress; this one does not care."""

    def say(self, line: str) -> None:
        """Something worth a line."""

    def stepped(self, step: Step) -> None:
        """A step was learnt."""

    def measured(self, row: Dict[str, Any]) -> None:
        """AP was measured."""

    def counted(self, what: str, done: int, total: int) -> None:
        """So many of a number of things are done."""
