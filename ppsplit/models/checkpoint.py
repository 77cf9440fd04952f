"""This project's checkpoints: an .npz of plain arrays and one JSON header. Nothing in it is ever executed."""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional

import numpy as np

from ppsplit.errors import ConfigError, WeightsError
from ppsplit.image import Preprocess
from ppsplit.models import Params, model_family
from ppsplit.models.assign import assign_tensors
from ppsplit.paddle_first import paddle

FORMAT = "ppsplit-checkpoint"
FORMAT_VERSION = 1
HEADER = "__header__"  # uint8 array: UTF-8 JSON


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        model: the network's name.
        params: its parameter dataclass.
        preprocess: how images become its input.
        tensors: structural name to float32 array.
    """

    model: str
    params: Params
    preprocess: Preprocess
    tensors: Dict[str, np.ndarray]

    def build(self) -> paddle.nn.Layer:
        """The network, with these weights. Raises WeightsError."""
        network = model_family(self.model).build(self.params)
        assign_tensors(network, self.tensors, "the checkpoint")
        return network


def save_checkpoint(network: paddle.nn.Layer, path: Path, preprocess: Optional[Preprocess] = None) -> None:
    """Write `network` to `path`, aside and renamed.

    Args:
        preprocess: how images became its input; the family's own where not given.
    """
    path = Path(path)
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": network.model_name,
        "params": dataclasses.asdict(network.params),
        "preprocess": (preprocess or model_family(network.model_name).preprocess).to_json(),
    }
    arrays = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    arrays[HEADER] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(partial, "wb") as stream:  # a stream, because savez would add .npz to a name
        np.savez(stream, **arrays)
    os.replace(partial, path)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote.

    Raises:
        WeightsError: cannot be read, damaged, not a checkpoint of this project or of another version.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}; give a checkpoint") from error
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(f"{path} is damaged or not an .npz of plain arrays ({error})") from error
    header = _header(arrays.pop(HEADER, None), path)
    try:
        family = model_family(header["model"])
        params = type(family.params)(**{key: _tuples(value) for key, value in header["params"].items()})
        return Checkpoint(header["model"], params, Preprocess.from_json(header["preprocess"]), arrays)
    except (KeyError, TypeError, AttributeError, ConfigError) as error:
        raise WeightsError(f"the header of {path} is damaged ({error}); save the checkpoint again") from error


def _header(array: Optional[np.ndarray], path: Path) -> Dict[str, Any]:
    try:
        header = json.loads(array.tobytes().decode()) if array is not None else {}
    except ValueError:
        header = {}
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise WeightsError(f"{path} is an .npz but not a checkpoint of ppsplit; save one with save_checkpoint")
    if header.get("format_version") != FORMAT_VERSION:
        raise WeightsError(
            f"{path} is a checkpoint of version {header.get('format_version')}, this ppsplit reads {FORMAT_VERSION}"
        )
    return header


def _tuples(value: Any) -> Any:
    """JSON's lists back to the tuples that a parameter dataclass holds."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
