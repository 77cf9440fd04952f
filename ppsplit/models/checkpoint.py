"""This project's checkpoints: an .npz of plain arrays and one JSON header. Nothing in it is ever executed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import numpy as np

from ppsplit.errors import ConfigError, WeightsError
from ppsplit.image import Preprocess
from ppsplit.models import Params, class_names_of, model_family
from ppsplit.models.archive import read_archive, write_archive
from ppsplit.models.assign import assign_tensors
from ppsplit.models.narrow import check_channels, narrow_to
from ppsplit.paddle_first import paddle

FORMAT = "ppsplit-checkpoint"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        model: the network's name.
        params: its parameter dataclass.
        preprocess: how images become its input.
        tensors: structural name to float32 array.
        class_names: one a class; () where they were not known, as in files of before they were kept.
    """

    model: str
    params: Params
    preprocess: Preprocess
    tensors: Dict[str, np.ndarray]
    class_names: Tuple[str, ...] = ()

    def build(self) -> paddle.nn.Layer:
        """The network with these weights, as wide at each layer as they are. Raises WeightsError."""
        network = model_family(self.model).build(self.params)
        narrow_to(network, self.tensors)
        assign_tensors(network, self.tensors, "the checkpoint")
        check_channels(network, "the checkpoint")
        network.class_names = self.class_names
        return network


def save_checkpoint(network: paddle.nn.Layer, path: Path, preprocess: Optional[Preprocess] = None) -> None:
    """Write `network` to `path`, aside and renamed, with the names of its classes where they are known.

    Args:
        preprocess: how images became its input; the family's own where not given.
    """
    header = {
        "model": network.model_name,
        "params": dataclasses.asdict(network.params),
        "preprocess": (preprocess or model_family(network.model_name).preprocess).to_json(),
        "class_names": list(class_names_of(network)),
    }
    arrays = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    write_archive(Path(path), FORMAT, FORMAT_VERSION, header, arrays)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote.

    Raises:
        WeightsError: cannot be read, damaged, not a checkpoint of this project or of another version.
    """
    header, arrays = read_archive(path, FORMAT, FORMAT_VERSION)
    try:
        family = model_family(header["model"])
        params = type(family.params)(**{key: _tuples(value) for key, value in header["params"].items()})
        names = _class_names(header.get("class_names", []), params.num_classes)
        return Checkpoint(header["model"], params, Preprocess.from_json(header["preprocess"]), arrays, names)
    except (KeyError, TypeError, AttributeError, ConfigError) as error:
        raise WeightsError(f"the header of {path} is damaged ({error}); save the checkpoint again") from error


def _class_names(value: Any, count: int) -> Tuple[str, ...]:
    if type(value) is not list or any(type(name) is not str for name in value) or len(value) not in (0, count):
        raise TypeError(f"class_names are not {count} texts")
    return tuple(value)


def _tuples(value: Any) -> Any:
    """JSON's lists back to the tuples that a parameter dataclass holds."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
