"""`ppsplit train-qat`: fine-tune a network with quantizers in it."""

from __future__ import annotations

from typing import Sequence

from ppsplit.cli.learning import configured, hush_paddle, next_command
from ppsplit.cli.tables import print_table
from ppsplit.cli.training_bar import TrainingBar
from ppsplit.errors import DataError
from ppsplit.export.network import find_weights
from ppsplit.models import model_family
from ppsplit.qat.config import QatConfig
from ppsplit.qat.training import MODEL, QuantTraining


def train_qat(argv: Sequence[str], prog: str = "ppsplit train-qat") -> int:
    """Fine-tune as `argv` and the configs it names say; every key is a field of `QatConfig`."""
    fine_tune_with(configured(QatConfig, argv, prog))
    return 0


def fine_tune_with(config: QatConfig) -> None:
    """Fine-tune, with a progress bar on the error stream, and a table and the next command on the other.

    Raises:
        PPSplitError: something chosen cannot be used.
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
        training = QuantTraining(config, weights, bar)
        rows = training.run()
    print_table(rows, title=f"{config.model} in int8, error on photos held out", json_path=config.json)
    calibrated, learnt = (row["output_error"] for row in rows)
    if learnt >= calibrated:
        print("Nothing was won: calibrating alone does as well; try a lower --lr or more --tune-images")
    model = training.output / MODEL
    cut = ["--cut", config.cut] if config.cut and config.cut != model_family(config.model).default_cut else []
    print(f"{model} is written; this cuts it in two:")
    print(next_command("export-split", config.model, model, *cut, "--quant", "qat"))
