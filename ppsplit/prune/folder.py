"""What a pruning keeps in its folder: the steps made and by what settings, what each began with, and the result."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

import numpy as np

from ppsplit.errors import ConfigError, WeightsError
from ppsplit.files import write_json_atomically
from ppsplit.models.archive import read_archive, write_archive
from ppsplit.prune.config import DECIDES_NO_STEP
from ppsplit.prune.costs import COST_NAMES
from ppsplit.prune.plots import plot_steps

MODEL, STEPS, START, STATE = "model.npz", "steps.json", "start.npz", "state.npz"
START_FORMAT, START_VERSION = "ppsplit-pruned-start", 1
TENSOR, KEPT = "tensor/", "kept/"

Row = Dict[str, Any]
Kept = Dict[str, np.ndarray]  # layer to int64, which of the whole network's output channels it still has


@dataclass(frozen=True)
class Start:
    """What the learning of a step begins with.

    Attributes:
        tensors: of the pruned and refitted network.
        kept: which of the whole network's channels it has; a layer not named has all.
    """

    tensors: Dict[str, np.ndarray]
    kept: Kept


class PruningFolder:
    """The files of one pruning.

    Args:
        path: the folder; made when something is written.
        identity: what decides the result, as JSON holds it.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path, self.identity = path, dict(identity)

    def step(self, number: int) -> Path:
        """The folder of a step."""
        return self.path / f"step{number}"

    def identity_of(self, number: int) -> Dict[str, Any]:
        """What decides how a step comes out."""
        return {**_decisive(self.identity), "step": number}

    def rows(self, resume: bool) -> List[Row]:
        """The rows of a run to go on with, the whole network first; none where nothing was begun.

        Raises:
            ConfigError: there is one and it is not to be resumed, or has other settings, or `steps.json` is damaged.
        """
        file = self.path / STEPS
        if not resume and (file.is_file() or (self.path / MODEL).is_file()):
            raise ConfigError(f"{self.path} holds a pruning already; go on with --resume, or give another --output")
        if not file.is_file():
            return []
        values = _read_steps(file)
        wanted = _decisive(self.identity)
        changed = [key for key, value in wanted.items() if values["identity"].get(key) != value]
        if changed:
            raise ConfigError(
                f"{file} is of a pruning with other settings ({', '.join(changed)}); resume with the same, or give "
                f"another --output{self._of_steps(values['identity']) if 'steps' in changed else ''}"
            )
        return list(values["rows"])

    def _of_steps(self, saved: Mapping[str, Any]) -> str:
        return (
            f". It was begun with --steps {saved.get('steps')}, and what each step saves depends on their number; to "
            f"prune its result further, give --weights {self.path / MODEL} and another --output"
        )

    def write(self, rows: Sequence[Row]) -> None:
        """Write the rows, and draw them."""
        write_json_atomically(self.path / STEPS, {"identity": self.identity, "rows": list(rows)})
        plot_steps(rows, self.path / "plots" / "steps.png")

    def keep(self, number: int) -> None:
        """Make the network of this step the result; with 0 there is none."""
        if number == 0:
            (self.path / MODEL).unlink(missing_ok=True)  # of a run that might lose more
            return
        partial = self.path / f".{MODEL}.partial"
        shutil.copyfile(self.step(number) / MODEL, partial)
        partial.replace(self.path / MODEL)

    def write_start(self, number: int, start: Start, channels: Mapping[str, int]) -> None:
        """Write what the learning of a step begins with; `channels` is group to how many stay, for people."""
        arrays = {TENSOR + name: array for name, array in start.tensors.items()}
        arrays.update({KEPT + name: indices for name, indices in start.kept.items()})
        header = {"channels": dict(channels), "identity": {**self.identity, "step": number}}
        write_archive(self.step(number) / START, START_FORMAT, START_VERSION, header, arrays)

    def has_start(self, number: int) -> bool:
        """Whether this step was pruned already, by these very settings: a folder may hold what another run left."""
        if not (self.step(number) / START).is_file():
            return False
        header, _ = self._open_start(number)
        if _decisive(header.get("identity") or {}) == self.identity_of(number):
            return True
        self.forget_state(number)
        return False

    def read_start(self, number: int) -> Start:
        """What `write_start` wrote. Raises WeightsError."""
        _, arrays = self._open_start(number)
        return Start(_part(arrays, TENSOR), _part(arrays, KEPT))

    def forget_state(self, number: int) -> None:
        """Remove what the learning of a step would be resumed from."""
        (self.step(number) / STATE).unlink(missing_ok=True)

    def _open_start(self, number: int) -> "tuple[Dict[str, Any], Dict[str, np.ndarray]]":
        try:
            return read_archive(self.step(number) / START, START_FORMAT, START_VERSION)
        except WeightsError as error:
            raise WeightsError(f"{error}; begin again in another --output") from error


def _decisive(identity: Mapping[str, Any]) -> Dict[str, Any]:
    return {name: value for name, value in identity.items() if name not in DECIDES_NO_STEP}


def _part(arrays: Mapping[str, np.ndarray], prefix: str) -> Dict[str, np.ndarray]:
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}


def _read_steps(file: Path) -> Dict[str, Any]:
    """What `steps.json` holds: identity and rows. Raises ConfigError."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        rows = values["rows"]
        columns = {"step", "ap", *COST_NAMES}
        if not rows or any(set(row) != columns or row["step"] != number for number, row in enumerate(rows)):
            raise ValueError("its rows are not those of the steps")
        dict(values["identity"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file} is damaged ({error!r}); move its folder away and begin again") from error
    return values
