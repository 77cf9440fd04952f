"""Weights of any known source into a network."""

from __future__ import annotations

import dataclasses
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple

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
from ppsplit.zoo.weight_file import is_torch_file, read_weight_file

DARKNET, CHECKPOINT, PDPARAMS, TORCH = "darknet", "checkpoint", "pdparams", "torch"


@dataclass(frozen=True)
class LoadedWeights:
    """What was loaded.

    Attributes:
        source: "darknet", "paddledetection", "paddle", "state_dict", "checkpoint" or "torch".
        preprocess: how these weights want their images, at the family's input size.
        sha256: of the file.
    """

    source: str
    preprocess: Preprocess
    sha256: str


def load_weights(network: paddle.nn.Layer, path: Path, cfg: Optional[Path] = None) -> LoadedWeights:
    """Fill `network` from a file, whose kind is told by its first bytes.

    Known: darknet's .weights; a .pdparams of PaddleDetection's YOLOv3-DarkNet53, of Paddle's classifiers or of this
    network's own state_dict; a checkpoint of this project; for networks that have such, a .pt of Ultralytics' or a
    .pth of torchvision's.

    Args:
        cfg: for .weights only; a .cfg that is first checked against the network.

    Raises:
        WeightsError: cannot be read, of no known kind, or does not fit the network or its cfg.
        UnsafePickleError: a .pdparams or .pt asks for something to be executed.
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
    if kind == TORCH:
        _load_torch(network, path)
        return LoadedWeights(kind, preprocess, digest)
    source = _load_pdparams(network, path)
    if source == "paddledetection":
        preprocess = dataclasses.replace(preprocess, resize="stretch", mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return LoadedWeights(source, preprocess, digest)


def load_network(model: str, path: Path, cfg: Optional[Path] = None) -> Tuple[paddle.nn.Layer, Preprocess]:
    """The network of that name which a weight file is of, and how images become its input.

    A checkpoint of this project says how wide it is and how many classes it has; a .pt also which scale it is.

    Raises:
        ConfigError: no such name.
        WeightsError, UnsafePickleError: as `load_weights`; the file is of another network.
    """
    family, path = model_family(model), Path(path)
    kind, params = kind_of(path), family.params
    if kind == CHECKPOINT:
        if cfg is not None:
            raise WeightsError(f"a cfg was given, but {path} is not a darknet .weights file; leave the cfg out")
        checkpoint = read_checkpoint(path)
        if checkpoint.model != model:
            raise WeightsError(f"{path} is a {checkpoint.model}, not a {model}; say --model {checkpoint.model}")
        return checkpoint.build(), checkpoint.preprocess
    is_told = kind == TORCH or (kind == PDPARAMS and family.fill_from_paddle is not None)
    if is_told and family.params_of_file is not None:
        params = family.params_of_file(family, read_weight_file(path), str(path))
    network = family.build(params)
    return network, load_weights(network, path, cfg).preprocess


def kind_of(path: Path) -> str:
    """DARKNET, CHECKPOINT, PDPARAMS or TORCH, told by the file's first bytes. Raises WeightsError."""
    try:
        with open(path, "rb") as stream:
            start = stream.read(12)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}; see `ppsplit download` for known weights") from error
    if looks_like_darknet(start):
        return DARKNET
    if is_torch_file(path):
        return TORCH
    if start.startswith(b"PK\x03\x04"):
        if not zipfile.is_zipfile(path):  # its list of entries stands at the end
            raise WeightsError(f"{path} begins as a .pt or a checkpoint and ends too early; fetch or copy it again")
        return CHECKPOINT
    if start.startswith(b"\x80"):
        return PDPARAMS
    raise WeightsError(
        f"{path} is of no known kind; give a darknet .weights, a .pdparams, a .pt or a checkpoint of ppsplit"
    )


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


def _load_torch(network: paddle.nn.Layer, path: Path) -> None:
    fill = model_family(network.model_name).fill_from_torch
    if fill is None:
        raise WeightsError(f"{path} is a file of PyTorch's, of which none is known for {network.model_name}")
    fill(network, read_weight_file(path), str(path))


def _load_pdparams(network: paddle.nn.Layer, path: Path) -> str:
    file, fill = read_weight_file(path), model_family(network.model_name).fill_from_paddle
    if fill is not None:
        fill(network, file, str(path))
        return "paddle"
    tensors = file.arrays
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
