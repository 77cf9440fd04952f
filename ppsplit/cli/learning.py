"""What `train`, `train-prune` and `train-qat` have in common."""

from __future__ import annotations

import shlex
import warnings
from pathlib import Path
from typing import Callable, Sequence, TypeVar

from ppsplit.cli.options import run
from ppsplit.train.config import TrainConfig

Config = TypeVar("Config")


def configured(kind: Callable[..., Config], argv: Sequence[str], prog: str) -> Config:
    """What `argv` and the configs it names say; every key is a field of `kind`. Raises ConfigError, SystemExit."""
    config: Config = run(kind, [word for word in argv if word != "--debug"], prog)
    return config


def hush_paddle() -> None:
    """Paddle warns of batch normalisation in training at every network; people want to see none of it."""
    warnings.filterwarnings("ignore", message="When training, we now always track")


def next_command(verb: str, model: str, weights: Path, *more: str) -> str:
    """The command line that uses what was learnt, as it is to be typed."""
    named = ["--model", model] if model != TrainConfig.model else []
    return shlex.join(["ppsplit", verb, *named, "--weights", str(weights), *more])
