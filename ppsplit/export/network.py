"""From a network's name to a frozen model: build, load weights, fold, trace."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Optional, Tuple

from ppsplit.errors import ConfigError
from ppsplit.export.freeze import FrozenModel, trace
from ppsplit.files import sha256_of
from ppsplit.models import class_names_of, decode_spec, model_family
from ppsplit.models.fold import fold_batch_norm
from ppsplit.models.weights import load_network
from ppsplit.zoo import ZOO, download

PRUNED_DIR = Path("pruned_model")


def freeze_model(
    model: str, weights: Path, input_hw: Optional[Tuple[int, int]] = None, cfg: Optional[Path] = None
) -> FrozenModel:
    """Freeze the network `model` with the weights in a file.

    Args:
        weights: darknet `.weights`, PaddleDetection `.pdparams`, Ultralytics' `.pt`, or a checkpoint of this project;
            the last two also say how wide the network is and how many classes it has.
        input_hw: input height and width, multiples of the coarsest stride; None for the network's own.
        cfg: darknet's description of the network, checked against ours.

    Raises:
        ConfigError: no such network, or the size does not fit it.
        WeightsError: the weights do not fit the network.
    """
    network, preprocess = load_network(model, weights, cfg)
    height, width = input_hw or preprocess.input_hw
    coarsest = max(network.params.strides)
    if height % coarsest or width % coarsest or min(height, width) < coarsest:
        raise ConfigError(f"input_hw {height},{width} must be multiples of {coarsest} for {model}")
    with tempfile.TemporaryDirectory() as scratch:
        program, stages = trace(fold_batch_norm(network), (height, width), Path(scratch))
    return FrozenModel(
        network.model_name,
        program,
        dataclasses.replace(preprocess, input_hw=(height, width)),
        decode_spec(network.params),
        class_names_of(network),
        stages,
        sha256_of(weights),
    )


def find_weights(model: str, weights: Optional[Path], prune: bool = False) -> Path:
    """The file to load: the one given, the pruned one, else the zoo's for this network (fetched if need be).

    Raises:
        ConfigError: the file is missing, or nothing is known for this network; the message names what to run.
        DownloadError: the zoo's file could not be fetched.
    """
    model_family(model)  # a wrong name is told as such
    if weights is not None:
        if not Path(weights).is_file():
            raise ConfigError(f"--weights {weights} does not exist; `ppsplit download` lists weights to fetch")
        return Path(weights)
    if prune:
        pruned = PRUNED_DIR / model / "model.npz"
        if not pruned.is_file():
            raise ConfigError(
                f"no pruned model at {pruned}; make one with `python tools/train_prune.py --model {model}`"
            )
        return pruned
    name = model.replace("_", "-")
    if name not in ZOO:
        raise ConfigError(f"no weights are known for {model}; give a file with --weights")
    return download(name)
