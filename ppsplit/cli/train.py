"""`ppsplit train`: learn from a set in COCO's format."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Sequence

from ppsplit.cli.learning import configured, hush_paddle, next_command
from ppsplit.cli.training_bar import TrainingBar
from ppsplit.data.layout import find_split
from ppsplit.export.network import find_weights
from ppsplit.models import model_family
from ppsplit.train.config import TrainConfig
from ppsplit.train.loop import Training
from ppsplit.train.parallel import Processes
from ppsplit.zoo import file_or_named


def train(argv: Sequence[str], prog: str = "ppsplit train") -> int:
    """Train as `argv` and the configs it names say; every key is a field of `TrainConfig`."""
    train_with(configured(TrainConfig, argv, prog))
    return 0


def train_with(config: TrainConfig) -> None:
    """Train, with a progress bar on the error stream and a last line on the other."""
    hush_paddle()
    model_family(config.model).check_trainable()
    processes = Processes.join()
    find_split(config.root, config.train_split)  # before anything is fetched
    # the first process fetches what is missing, the others find it there
    weights = first_weights(config) if processes.leads else None
    processes.wait()
    if not processes.leads:
        weights = first_weights(config)
    with TrainingBar(processes.leads) as bar:
        model = Training(config, weights, processes, bar).run()
    if processes.leads:
        print(f"{model} is written; `ppsplit eval` measures it, and this freezes it:")
        print(next_command("export", config.model, model))


def first_weights(config: TrainConfig) -> Optional[Path]:
    """The file that training begins with, fetched if need be; None for none. Raises ConfigError, DownloadError."""
    if config.scratch:
        return None
    return file_or_named(config.backbone) if config.backbone else find_weights(config.model, config.weights)
