"""`ppsplit train`: learn from a set in COCO's format."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ppsplit.cli.options import run
from ppsplit.data.layout import find_split
from ppsplit.export.network import find_weights
from ppsplit.train.config import TrainConfig
from ppsplit.train.listener import Listener, Step
from ppsplit.train.loop import Training
from ppsplit.train.loss import PARTS
from ppsplit.train.parallel import Processes
from ppsplit.zoo import file_or_named


def train(argv: Sequence[str], prog: str = "ppsplit train") -> int:
    """Train as `argv` and the configs it names say; every key is a field of `TrainConfig`."""
    config: TrainConfig = run(TrainConfig, [word for word in argv if word != "--debug"], prog)
    train_with(config)
    return 0


def train_with(config: TrainConfig) -> None:
    """Train, with a progress bar on the error stream and a last line on the other."""
    warnings.filterwarnings("ignore", message="When training, we now always track")  # Paddle, of batch normalisation
    processes = Processes.join()
    find_split(config.root, config.train_split)  # before anything is fetched
    # the first process fetches what is missing, the others find it there
    weights = first_weights(config) if processes.leads else None
    processes.wait()
    if not processes.leads:
        weights = first_weights(config)
    with ProgressBar(processes.leads) as bar:
        model = Training(config, weights, processes, bar).run()
    if processes.leads:
        print(f"{model}: use it with `ppsplit eval --weights {model}` or `ppsplit export --weights {model}`")


def first_weights(config: TrainConfig) -> Optional[Path]:
    """The file that training begins with, fetched if need be; None for none. Raises ConfigError, DownloadError."""
    if config.scratch:
        return None
    return file_or_named(config.backbone) if config.backbone else find_weights(config.model, config.weights)


class ProgressBar(Listener):
    """Steps as a bar with the parts of the loss, images a second and the time left; AP as lines above it."""

    def __init__(self, shown: bool = True) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(
            *columns, TextColumn("{task.fields[state]}"), console=Console(stderr=True), disable=not shown
        )
        self._task: Optional[Any] = None

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def stepped(self, step: Step) -> None:
        """Move the bar."""
        if self._task is None:
            self._task = self._bar.add_task("", total=step.steps, state="")
        parts = " ".join(f"{name} {step.row[name]:.2f}" for name in ("loss", *PARTS))
        state = f"{parts} · {step.row['images_per_s']:.1f} images/s · {clock(step.seconds_left)} left"
        self._bar.update(self._task, completed=step.step, description=f"epoch {step.epoch + 1}", state=state)

    def measured(self, row: Dict[str, Any]) -> None:
        """Print AP above the bar."""
        self.say(f"after epoch {row['epoch'] + 1}: AP {row['ap']:.4f}, AP50 {row['ap50']:.4f}")


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
