"""`ppsplit train-prune`: prune a network's channels and fine-tune what is left."""

from __future__ import annotations

from typing import Sequence

from ppsplit.cli.learning import configured, hush_paddle, next_command
from ppsplit.cli.tables import print_table
from ppsplit.cli.training_bar import TrainingBar
from ppsplit.errors import ConfigError, DataError
from ppsplit.export.network import find_weights
from ppsplit.models import model_family
from ppsplit.prune.config import PruneConfig
from ppsplit.prune.folder import MODEL
from ppsplit.prune.steps import Pruning


def train_prune(argv: Sequence[str], prog: str = "ppsplit train-prune") -> int:
    """Prune as `argv` and the configs it names say; every key is a field of `PruneConfig`."""
    prune_with(configured(PruneConfig, argv, prog))
    return 0


def prune_with(config: PruneConfig) -> None:
    """Prune, with a progress bar on the error stream, and a table and the next command on the other.

    Raises:
        ConfigError: no step was kept; the table was printed and all that was measured is in the folder.
        PPSplitError: something chosen cannot be used or met.
    """
    hush_paddle()
    model_family(config.model).check_trainable()
    if not config.images.exists():  # before anything is fetched
        raise DataError(
            f"no photos in {config.images}: give a folder of some hundred photos like those the network will see with "
            "--images (they need no labels), or fetch COCO's with `python tools/download_coco.py`"
        )
    weights = find_weights(config.model, config.weights)
    with TrainingBar() as bar:
        pruning = Pruning(config, weights, bar)
        rows = pruning.run()
    print_table(rows, title=f"{config.model} pruned by {config.criterion}", json_path=config.json)
    if rows[0]["kept"]:
        raise ConfigError(
            f"the first step lost more than {config.max_ap_drop:g} points of AP; nothing is kept, and what was "
            f"measured is in {pruning.output}. Go on with --resume and a larger --max-ap-drop, or begin in another "
            "--output with a smaller target, more --steps or more --tune-images"
        )
    model = pruning.output / MODEL
    cut = ["--cut", pruning.cut] if pruning.cut != model_family(config.model).default_cut else []
    print(f"{model} is written; this cuts it in two:")
    print(next_command("export-split", config.model, model, *cut))
