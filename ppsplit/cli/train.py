"""`ppsplit train`: learn from a set in COCO's format."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Optional, Sequence

from ppsplit.cli.options import run
from ppsplit.cli.training_bar import TrainingBar
from ppsplit.data.layout import find_split
from ppsplit.export.network import find_weights
from ppsplit.models import model_family
from ppsplit.train.config import TrainConfig
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
    model_family(config.model).check_trainable()
    processes = Processes.join()
    find_split(config.root, config.train_split)  # before anything is fetched
    # the first process fetches what is missing, the others find it there
    weights = first_weights(config) if processes.leads else None
    processes.wait()
    if not processes.leads:
        weights = first_weights(config)
    with TrainingBar(PARTS, processes.leads) as bar:
        model = Training(config, weights, processes, bar).run()
    if processes.leads:
        print(f"{model}: use it with `ppsplit eval --weights {model}` or `ppsplit export --weights {model}`")


def first_weights(config: TrainConfig) -> Optional[Path]:
    """The file that training begins with, fetched if need be; None for none. Raises ConfigError, DownloadError."""
    if config.scratch:
        return None
    return file_or_named(config.backbone) if config.backbone else find_weights(config.model, config.weights)
