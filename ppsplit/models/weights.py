"""Weights of any known source into a network."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ppsplit.errors import WeightsError
from ppsplit.files import sha256_of
from ppsplit.image import Preprocess
from ppsplit.models import model_family
from ppsplit.models.assign import assign_tensors
from ppsplit.models.checkpoint import read_checkpoint
from ppsplit.models.darknet_cfg import parse_cfg
from ppsplit.models.darknet_layout import check_cfg
from ppsplit.models.darknet_weights import load_darknet_weights, looks_like_darknet
from ppsplit.models.paddledetection import IMAGENET_MEAN, IMAGENET_STD, SIGN, paddledetection_names
from ppsplit.paddle_first import paddle
from ppsplit.zoo.safe_pickle import read_pdparams

DARKNET, CHECKPOINT, PDPARAMS = "darknet", "checkpoint", "pdparams"


@dataclass(frozen=True)
class LoadedWeights:
    """What was loaded.

    Attributes:
        source: "darknet", "paddledetection", "state_dict" or "checkpoint".
        preprocess: how these weights want their images, at the family's input size.
        sha256: of the file.
    """

    source: str
    preprocess: Preprocess
    sha256: str


def load_weights(network: paddle.nn.Layer, path: Path, cfg: Optional[Path] = None) -> LoadedWeights:
    """Fill `network` from a file, whose kind is told by its first bytes.

    Known: darknet's .weights; a .pdparams of PaddleDetection's YOLOv3-DarkNet53 or of this network's own
    state_dict; a checkpoint of this project.

    Args:
        cfg: for .weights only; a .cfg that is first checked against the network.

    Raises:
        WeightsError: cannot be read, of no known kind, or does not fit the network or its cfg.
        UnsafePickleError: a .pdparams asks for something to be executed.
        ConfigError: the cfg is not one.
    """
    path = Path(path)
    kind, digest = kind_of(path), sha256_of(path)
    preprocess = model_family(network.model_name).preprocess
    if kind == DARKNET:
        if cfg is not None:
            check_cfg(parse_cfg(_read_text(cfg)), network)
        load_darknet_weights(network, path)
        return LoadedWeights(kind, preprocess, digest)
    if cfg is not None:
        raise WeightsError(f"a cfg was given, but {path} is not a darknet .weights file; leave the cfg out")
    if kind == CHECKPOINT:
        return LoadedWeights(kind, _load_checkpoint(network, path), digest)
    source = _load_pdparams(network, path)
    if source == "paddledetection":
        preprocess = dataclasses.replace(preprocess, resize="stretch", mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return LoadedWeights(source, preprocess, digest)


def kind_of(path: Path) -> str:
    """DARKNET, CHECKPOINT or PDPARAMS, told by the file's first bytes. Raises WeightsError."""
    try:
        with open(path, "rb") as stream:
            start = stream.read(12)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}; see `ppsplit download` for known weights") from error
    if looks_like_darknet(start):
        return DARKNET
    if start.startswith(b"PK\x03\x04"):
        return CHECKPOINT
    if start.startswith(b"\x80"):
        return PDPARAMS
    raise WeightsError(f"{path} is of no known kind; give a darknet .weights, a .pdparams or a checkpoint of ppsplit")


def _load_checkpoint(network: paddle.nn.Layer, path: Path) -> Preprocess:
    checkpoint = read_checkpoint(path)
    # anchors and masks leave no trace in the shapes, so the parameters are compared too
    if (checkpoint.model, checkpoint.params) != (network.model_name, network.params):
        raise WeightsError(
            f"{path} is {checkpoint.model} with {checkpoint.params}, the network is {network.model_name} with "
            f"{network.params}; build the network with the same parameters"
        )
    assign_tensors(network, checkpoint.tensors, str(path))
    network.class_names = checkpoint.class_names
    return checkpoint.preprocess


def _load_pdparams(network: paddle.nn.Layer, path: Path) -> str:
    tensors = read_pdparams(path)
    if not any(name.startswith(SIGN) for name in tensors):
        assign_tensors(network, tensors, str(path))
        return "state_dict"
    names = paddledetection_names()
    assign_tensors(network, {names.get(name, name): array for name, array in tensors.items()}, str(path))
    return "paddledetection"


def _read_text(path: Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise WeightsError(f"cannot read {path} ({error}); give a darknet .cfg file") from error
