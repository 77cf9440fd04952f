"""Pruning from a whole network to a folder with a pruned one: step by step, resumable, the best step kept."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from ppsplit.data.coco import CocoSet
from ppsplit.data.image_folder import unlabelled_set
from ppsplit.data.layout import find_split
from ppsplit.errors import ConfigError, WeightsError
from ppsplit.files import sha256_of, write_json_atomically
from ppsplit.image import read_image, to_input
from ppsplit.models import model_family
from ppsplit.models.archive import read_archive, write_archive
from ppsplit.models.checkpoint import save_checkpoint
from ppsplit.models.weights import load_network
from ppsplit.paddle_first import paddle
from ppsplit.prune.allocate import Budget, Channels, by_budget, by_ratio
from ppsplit.prune.channels import Pruner, like
from ppsplit.prune.compensate import Patches, compensate, readers, watch
from ppsplit.prune.config import PruneConfig
from ppsplit.prune.costs import COST_NAMES, CostModel
from ppsplit.prune.finetune import Distillation
from ppsplit.prune.plots import plot_sensitivity, plot_steps
from ppsplit.prune.sensitivity import Probe, losses, sensitivity
from ppsplit.train.average_precision import network_ap
from ppsplit.train.listener import Listener

MODEL, STEPS, START = "model.npz", "steps.json", "start.npz"
START_FORMAT, START_VERSION = "ppsplit-pruned-start", 1
POINTS = 100  # AP is told in hundredths
SENSED = 16  # photos that sensitivity is measured on; others than those that layers are refitted on, which flatter it
SENSED_LABELLED = 48

Kept = Dict[str, np.ndarray]  # layer to int64, which of the whole network's output channels it still has


@dataclass(frozen=True)
class _Stage:
    """A network on the way."""

    network: paddle.nn.Layer
    kept: Kept


class Pruning:
    """A pruning, ready to run.

    Args:
        config: all that was chosen.
        weights: the file to prune.
        listener: hears of progress.

    Raises:
        ConfigError, DataError, WeightsError: something chosen cannot be used.
    """

    def __init__(self, config: PruneConfig, weights: Path, listener: Listener) -> None:
        self.config, self.listener = config, listener
        self.output = Path(config.output or Path("pruned_model") / config.model)
        self.teacher, preprocess = load_network(config.model, weights)
        self.teacher.eval()
        self.preprocess = replace(preprocess, input_hw=config.input_hw or preprocess.input_hw)
        self.cut = config.cut or model_family(config.model).default_cut
        self.data = unlabelled_set(config.images)
        self.val = CocoSet.open(*find_split(config.root, config.val_split)) if config.root else None
        probe = [image.path for image in _spread(self.data.images, config.probe_images + SENSED)]
        decisive = {
            **config.identity(),
            "weights_sha256": sha256_of(weights),
            "images": [image.path.name for image in self.data.images],
            "annotations_sha256": sha256_of(self.val.annotations) if self.val else None,
        }
        self.identity = json.loads(json.dumps(decisive))  # as it will be read back
        inputs = [to_input(read_image(path), self.preprocess)[0] for path in probe]
        sensed = min(SENSED, max(1, len(inputs) // 2))
        self.inputs = inputs[:-sensed] or inputs
        # AP only for people to look at, on a few images: it is measured for every layer and ratio
        self.probe = Probe(inputs[-sensed:], self.val.first(SENSED_LABELLED) if self.val else None, self.preprocess)

    def run(self) -> List[Dict[str, Any]]:
        """Prune to the end.

        Returns:
            one row a step, the whole network first: costs, AP (None where it was not measured) and whether this
            step is the one kept.
        """
        rows = self._begin()
        stage = self._stage(len(rows) - 1)
        while len(rows) <= self.config.steps and not self._dropped(rows):
            number = len(rows)
            self.listener.say(f"step {number} of {self.config.steps}")
            stage = self._step(stage, number)
            save_checkpoint(stage.network, self._folder(number) / MODEL, self.preprocess)
            rows.append(self._row(number, stage.network))
            self._write(rows)
            (self._folder(number) / "state.npz").unlink(missing_ok=True)  # it has served
        return self._finish(rows)

    def _begin(self) -> List[Dict[str, Any]]:
        """The rows so far: those of a run to go on with, or the whole network's."""
        file = self.output / STEPS
        if not self.config.resume and (file.is_file() or (self.output / MODEL).is_file()):
            raise ConfigError(f"{self.output} holds a pruning already; go on with --resume, or give another --output")
        if file.is_file():
            values = _read_steps(file)
            changed = [key for key, value in self.identity.items() if values["identity"].get(key) != value]
            if changed:
                raise ConfigError(
                    f"{file} is of a pruning with other settings ({', '.join(changed)}); resume with the same, or "
                    "give another --output"
                )
            return list(values["rows"])
        rows = [self._row(0, self.teacher)]
        self._write(rows)
        return rows

    def _write(self, rows: List[Dict[str, Any]]) -> None:
        write_json_atomically(self.output / STEPS, {"identity": self.identity, "rows": rows})
        plot_steps(rows, self.output / "plots" / "steps.png")

    def _row(self, number: int, network: paddle.nn.Layer) -> Dict[str, Any]:
        costs = CostModel(network, {}, self.preprocess.input_hw, self.cut).of({})
        ap = network_ap(network, self.val, self.preprocess)["ap"] if self.val else None
        return {"step": number, **asdict(costs), "ap": ap}

    def _dropped(self, rows: List[Dict[str, Any]]) -> bool:
        limit = self.config.max_ap_drop
        return limit is not None and (rows[0]["ap"] - rows[-1]["ap"]) * POINTS > limit

    def _finish(self, rows: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
        """Keep the last step within the limit."""
        kept = len(rows) - 1 - int(self._dropped(rows))
        if kept == 0:
            self.listener.say(
                f"the first step lost more than {self.config.max_ap_drop} points of AP; nothing is kept. Give a "
                "smaller --target-flops, more --steps or more --tune-images"
            )
        else:
            partial = self.output / f".{MODEL}.partial"
            shutil.copyfile(self._folder(kept) / MODEL, partial)
            partial.replace(self.output / MODEL)
        return [{**row, "kept": row["step"] == kept} for row in rows]

    def _folder(self, number: int) -> Path:
        return self.output / f"step{number}"

    def _stage(self, number: int) -> _Stage:
        """The network after so many steps."""
        if number == 0:
            return _Stage(self.teacher, {})
        network, _ = load_network(self.config.model, self._folder(number) / MODEL)
        return _Stage(network, self._read_start(number)[1])

    def _step(self, stage: _Stage, number: int) -> _Stage:
        """Prune once and fine-tune."""
        if not self._has_start(number):
            self._prune(stage, number)
        tensors, kept = self._read_start(number)
        student = like(self.teacher, tensors)
        sides = self.config.input_sizes or (max(self.preprocess.input_hw),)
        plan = self.config.fine_tuning(tuple(sides))
        if plan.images:
            identity = {**self.identity, "step": number}
            student = Distillation(
                student,
                self.teacher,
                kept,
                self.data,
                self.preprocess,
                plan,
                self._folder(number),
                identity,
                self.listener,
            ).run()
            student.eval()
        return _Stage(student, kept)

    def _prune(self, stage: _Stage, number: int) -> None:
        """Choose channels, drop them, refit, and write what fine-tuning begins with."""
        pruner = Pruner(stage.network, self.config.criterion)
        seen = watch(stage.network, readers(pruner.groups), self.inputs)
        channels = self._channels(pruner, seen, number)
        kept = pruner.kept(channels)
        pruned = pruner.pruned(kept)
        compensate(pruned, pruner.groups, kept, seen)
        composed = dict(stage.kept)
        for name, indices in kept.items():
            for maker in pruner.groups[name].makers:
                composed[maker] = composed[maker][indices] if maker in composed else indices
        folder = self._folder(number)
        save_checkpoint(pruned, folder / "untuned.npz", self.preprocess)
        arrays = {f"tensor/{name}": tensor.numpy() for name, tensor in pruned.state_dict().items()}
        arrays.update({f"kept/{name}": indices for name, indices in composed.items()})
        header = {"channels": channels, "identity": {**self.identity, "step": number}}
        write_archive(folder / START, START_FORMAT, START_VERSION, header, arrays)

    def _has_start(self, number: int) -> bool:
        """Whether this step was pruned already, by these very settings: a folder may hold what another run left."""
        if not (self._folder(number) / START).is_file():
            return False
        header, _ = self._open_start(number)
        if header.get("identity") == {**self.identity, "step": number}:
            return True
        (self._folder(number) / "state.npz").unlink(missing_ok=True)
        return False

    def _read_start(self, number: int) -> Tuple[Dict[str, np.ndarray], Kept]:
        _, arrays = self._open_start(number)
        tensors = {name[len("tensor/") :]: array for name, array in arrays.items() if name.startswith("tensor/")}
        return tensors, {name[len("kept/") :]: array for name, array in arrays.items() if name.startswith("kept/")}

    def _open_start(self, number: int) -> Tuple[Dict[str, Any], Dict[str, np.ndarray]]:
        try:
            return read_archive(self._folder(number) / START, START_FORMAT, START_VERSION)
        except WeightsError as error:
            raise WeightsError(f"{error}; begin again in another --output") from error

    def _channels(self, pruner: Pruner, seen: Dict[str, Patches], number: int) -> Channels:
        if self.config.ratios:
            return by_ratio(self.config.named_ratios(), pruner.groups, self.config.divisor)
        costs = CostModel(pruner.network, pruner.groups, self.preprocess.input_hw, self.cut)
        names = list(pruner.groups) if self.config.target == "whole" else edge_groups(costs)
        folder = self._folder(number)
        rows = sensitivity(
            pruner,
            seen,
            names,
            self.probe,
            self.config.divisor,
            folder / "sensitivity.json",
            self._sensed_by(pruner.network),
            lambda done, total: self.listener.counted("sensitivity", done, total),
        )
        plot_sensitivity(rows, folder / "sensitivity.png")
        return by_budget(losses(rows), pruner.groups, costs.of, self._budgets(number), self.config.divisor)

    def _sensed_by(self, network: paddle.nn.Layer) -> Dict[str, Any]:
        """What decides a sensitivity analysis, and no more: other targets or learning may use the same one."""
        digest = hashlib.sha256()
        for name, tensor in sorted(network.state_dict().items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
        chosen = {name: self.identity[name] for name in ("criterion", "divisor", "probe_images", "images")}
        chosen["annotations_sha256"] = self.identity["annotations_sha256"]
        return {**chosen, "network_sha256": digest.hexdigest(), "hw": list(self.preprocess.input_hw)}

    def _budgets(self, number: int) -> List[Budget]:
        """What may be left after step `number`: savings grow evenly with the steps."""
        whole = CostModel(self.teacher, {}, self.preprocess.input_hw, self.cut).of({})
        done = number / self.config.steps
        shares = self.config.shares()
        return [Budget(cost, getattr(whole, cost) * (1 - (1 - share) * done)) for cost, share in shares.items()]


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


def edge_groups(costs: CostModel) -> List[str]:
    """Groups whose pruning makes the edge's half or what crosses cheaper."""
    return list(dict.fromkeys([*costs.on_edge(), *costs.crossing()]))


def _spread(items: Sequence[Any], count: int) -> List[Any]:
    """`count` of them, evenly spread."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))]
