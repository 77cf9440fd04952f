"""Everything a training needs to go on exactly: an .npz of plain arrays and one JSON header, written aside and renamed.

Held: weights, their average, the optimizer's moments, and where in the data the training is. The learning rate is a
function of the step and every random number one of seed, epoch and index, so neither has a state of its own.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict

import numpy as np

from ppsplit.errors import TrainingError, WeightsError
from ppsplit.models.archive import read_archive, write_archive
from ppsplit.models.assign import assign_tensors
from ppsplit.paddle_first import paddle

FORMAT = "ppsplit-training"
FORMAT_VERSION = 1
# what is in its folder already would be refused without --resume
BEGIN_AGAIN = "delete that file and run the same command with --resume: what it held is learnt again"
NETWORK, AVERAGED, MOMENTS = "network/", "averaged/", "moments/"


@dataclass(frozen=True)
class Position:
    """Where a training is.

    Attributes:
        epoch: from 0.
        number: of the next batch of this epoch.
        step: batches learnt so far.
        best_ap: the best AP so far, -1 for none.
    """

    epoch: int = 0
    number: int = 0
    step: int = 0
    best_ap: float = -1.0


@dataclass(frozen=True)
class Learner:
    """What changes while learning.

    Attributes:
        network: being trained.
        averaged: holds the average of its weights.
        optimizer: of the network's parameters.
    """

    network: paddle.nn.Layer
    averaged: paddle.nn.Layer
    optimizer: paddle.optimizer.Optimizer

    def save(self, path: Path, position: Position, identity: Dict[str, Any]) -> None:
        """Write all of it to `path`. `identity` is what decides the result beside the data; see `restore`."""
        header = {"position": dataclasses.asdict(position), "identity": identity}
        arrays = {NETWORK + name: tensor.numpy() for name, tensor in self.network.state_dict().items()}
        arrays.update({AVERAGED + name: tensor.numpy() for name, tensor in self.averaged.state_dict().items()})
        arrays.update({MOMENTS + name: array for name, array in self._moments().items()})
        write_archive(path, FORMAT, FORMAT_VERSION, header, arrays)

    def restore(self, path: Path, identity: Dict[str, Any]) -> Position:
        """Set everything as it was saved.

        Raises:
            TrainingError: damaged, not a training's state, or saved with another `identity`.
        """
        try:
            header, arrays = read_archive(path, FORMAT, FORMAT_VERSION)
        except WeightsError as error:
            raise TrainingError(f"{error}; {BEGIN_AGAIN}") from error
        try:
            position = Position(**header["position"])
            saved = dict(header["identity"])
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"the header of {path} is damaged ({error}); {BEGIN_AGAIN}") from error
        changed = [
            f"{key} was {saved.get(key)!r}, now {value!r}"
            for key, value in json.loads(json.dumps(identity)).items()
            if key not in saved or saved[key] != value
        ]
        if changed:
            raise TrainingError(
                f"{path} belongs to another training: {'; '.join(changed)}. Resume with the same settings, or "
                "begin a new training in another --output"
            )
        assign_tensors(self.network, _part(arrays, NETWORK), str(path))
        assign_tensors(self.averaged, _part(arrays, AVERAGED), str(path))
        self._set_moments(_part(arrays, MOMENTS))
        return position

    def _moments(self) -> Dict[str, np.ndarray]:
        """The optimizer's arrays under structural names: its own contain a count of all layers ever built."""
        state = self.optimizer.state_dict()
        return {
            f"{name}/{key[len(parameter.name) + 1 :]}": value.numpy()
            for name, parameter in self.network.named_parameters()
            for key, value in state.items()
            if key.startswith(parameter.name + "_")
        }

    def _set_moments(self, moments: Dict[str, np.ndarray]) -> None:
        if not moments:  # saved before the first step
            return
        parameters = dict(self.network.named_parameters())
        named = {name.rpartition("/"): array for name, array in moments.items()}
        self.optimizer.set_state_dict(
            {f"{parameters[name].name}_{moment}": paddle.to_tensor(array) for (name, _, moment), array in named.items()}
        )


def _part(arrays: Dict[str, np.ndarray], prefix: str) -> Dict[str, np.ndarray]:
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}


def all_finite(parts: Dict[str, float]) -> bool:
    """Whether every part of a loss is a number."""
    return all(math.isfinite(value) for value in parts.values())
