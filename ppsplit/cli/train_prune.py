"""`ppsplit train-prune`: prune a network's channels and fine-tune what is left."""

from __future__ import annotations

import warnings
from typing import Sequence

from ppsplit.cli.options import run
from ppsplit.cli.tables import print_table
from ppsplit.cli.training_bar import TrainingBar
from ppsplit.errors import DataError
from ppsplit.export.network import find_weights
from ppsplit.models import model_family
from ppsplit.prune.config import PruneConfig
from ppsplit.prune.distill import PARTS
from ppsplit.prune.steps import MODEL, Pruning


def train_prune(argv: Sequence[str], prog: str = "ppsplit train-prune") -> int:
    """Prune as `argv` and the configs it names say; every key is a field of `PruneConfig`."""
    config: PruneConfig = run(PruneConfig, [word for word in argv if word != "--debug"], prog)
    prune_with(config)
    return 0


def prune_with(config: PruneConfig) -> None:
    """Prune, with a progress bar on the error stream and a table on the other."""
    warnings.filterwarnings("ignore", message="When training, we now always track")  # Paddle, of batch normalisation
    model_family(config.model).check_trainable()
    if not config.images.exists():  # before anything is fetched
        raise DataError(
            f"no photos in {config.images}: give a folder of some hundred photos like those the network will see with "
            "--images (they need no labels), or fetch COCO's with `python tools/download_coco.py`"
        )
    weights = find_weights(config.model, config.weights)
    with TrainingBar(PARTS) as bar:
        pruning = Pruning(config, weights, bar)
        rows = pruning.run()
    print_table(rows, title=f"{config.model} pruned by {config.criterion}", json_path=config.json)
    if rows[0]["kept"]:
        return
    print(f"{pruning.output / MODEL}: use it with `ppsplit export-split --weights {pruning.output / MODEL}`")
