"""The bar of a training on a narrow terminal."""

from __future__ import annotations

import io
from typing import List

from rich.console import Console

from ppsplit.cli.training_bar import TrainingBar, clock
from ppsplit.train.listener import Step

ROW = {"loss": 1234.567, "box": 1.0, "objectness": 2.0, "class": 3.0, "feature": 4.0, "images_per_s": 12.34}


def shown(bar: TrainingBar) -> List[str]:
    """The lines of a terminal of 80 columns."""
    console = Console(width=80, file=io.StringIO())
    console.print(bar._bar.get_renderable())
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_a_step_is_one_line_of_80_columns() -> None:
    bar = TrainingBar()
    bar.stepped(Step(19999, 20000, 99, ROW, 36015))
    bar.counted("sensitivity", 55, 55)
    step, counted = shown(bar)
    assert step.startswith("epoch 100") and "19999/20000" in step and "loss 1235 12.3 images/s" in step
    assert step.endswith("10:00:15 left") and counted.startswith("sensitivity") and "55/55" in counted


def test_what_begins_once_more_begins_at_nothing() -> None:
    bar = TrainingBar()
    for done, total in ((1, 4), (4, 4), (1, 3)):
        bar.counted("AP", done, total)
    (line,) = shown(bar)
    assert "1/3" in line and bar._bar.tasks[0].finished_time is None


def test_a_clock() -> None:
    assert (clock(0), clock(59.6), clock(36015)) == ("0:00:00", "0:01:00", "10:00:15")
