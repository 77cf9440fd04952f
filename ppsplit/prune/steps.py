"""Pruning from a whole network to a folder with a pruned one: step by step, resumable, the best step kept."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

from ppsplit.data.coco import CocoSet
from ppsplit.data.image_folder import unlabelled_set
from ppsplit.data.layout import find_split
from ppsplit.distill.finetune import Distillation
from ppsplit.errors import ConfigError
from ppsplit.files import sha256_of, write_json_atomically
from ppsplit.models import model_family
from ppsplit.models.checkpoint import save_checkpoint
from ppsplit.models.weights import load_network
from ppsplit.paddle_first import paddle
from ppsplit.prune.allocate import InfeasibleError, Losses
from ppsplit.prune.channels import Pruner, like
from ppsplit.prune.choice import Choice
from ppsplit.prune.compensate import Patches, compensate, readers, watch
from ppsplit.prune.config import PruneConfig
from ppsplit.prune.costs import CostModel
from ppsplit.prune.folder import MODEL, Kept, PruningFolder, Row, Start
from ppsplit.prune.photos import probe_photos
from ppsplit.prune.plots import plot_sensitivity
from ppsplit.prune.sensitivity import Probe, losses, sensitivity
from ppsplit.train.average_precision import check_classes, network_ap
from ppsplit.train.listener import Listener

POINTS = 100  # AP is told in hundredths
SENSED_LABELLED = 48
SHARED = ".sensitivity"  # folder beside the outputs: prunings for other targets measure the same


@dataclass(frozen=True)
class _Stage:
    """A network on the way."""

    network: paddle.nn.Layer
    kept: Kept


class Pruning:
    """A pruning, ready to run. Nothing is written before it runs.

    Args:
        config: all that was chosen.
        weights: the file to prune.
        listener: hears of progress.

    Raises:
        ConfigError, DataError, WeightsError, CutError: something chosen cannot be used or met.
    """

    def __init__(self, config: PruneConfig, weights: Path, listener: Listener) -> None:
        self.config, self.listener = config, listener
        self.output = Path(config.output or Path("pruned_model") / config.model)
        self.data = unlabelled_set(config.images)
        if config.tune_images and config.batch > len(self.data.images):
            raise ConfigError(
                f"--batch {config.batch} is more than the {len(self.data.images)} photos in {config.images}; give "
                "more photos or a smaller --batch"
            )
        self.teacher, preprocess = load_network(config.model, weights)
        self.teacher.eval()
        self.preprocess = replace(preprocess, input_hw=config.input_hw or preprocess.input_hw)
        self.cut = config.cut or model_family(config.model).default_cut
        self.val = CocoSet.open(*find_split(config.root, config.val_split)) if config.root else None
        if self.val is not None:
            check_classes(self.teacher.params.num_classes, self.val)
        decisive = {
            **config.identity(),
            "weights_sha256": sha256_of(weights),
            "images": [image.path.name for image in self.data.images],
            "annotations_sha256": sha256_of(self.val.annotations) if self.val else None,
        }
        self.identity = json.loads(json.dumps(decisive))  # as it will be read back
        self.folder = PruningFolder(self.output, self.identity)
        self.rows = self.folder.rows(config.resume)
        self.choice = Choice(config, self.teacher, self.preprocess.input_hw, self.cut)
        self.photos = probe_photos(self.data, config.probe_images, self.preprocess)
        # AP only for people to look at, on a few images: it is measured for every layer and ratio
        labelled = self.val.first(SENSED_LABELLED) if self.val else None
        self.probe = Probe(self.photos.sensed, labelled, self.preprocess)

    def run(self) -> List[Row]:
        """Prune to the end.

        Returns:
            one row a step, the whole network first: costs, AP (None where it was not measured) and whether this
            step is the one kept; the first where even one step lost too much, and then there is no result.
        """
        told = self._name_problems({})
        rows = self.rows or [self._row(0, self.teacher)]
        self.folder.write(rows)
        stage = self._stage(len(rows) - 1)
        while len(rows) <= self.config.steps and self._within_limit(rows) == len(rows) - 1:
            number = len(rows)
            self.listener.say(f"step {number} of {self.config.steps}")
            try:
                stage = self._step(stage, number)
            except InfeasibleError as error:
                if number == 1:
                    raise
                self.listener.say(f"step {number} cannot be had, so step {number - 1} is the last: {error}")
                break
            save_checkpoint(stage.network, self.folder.step(number) / MODEL, self.preprocess)
            rows.append(self._row(number, stage.network))
            self.folder.write(rows)
            self.folder.forget_state(number)  # it has served
        self._name_problems(told)
        kept = self._within_limit(rows)
        self.folder.keep(kept)
        return [{**row, "kept": row["step"] == kept} for row in rows]

    def _name_problems(self, told: Dict[str, int]) -> Dict[str, int]:
        """Say which photos were left out, unless that was told already: bad files show when they are read."""
        counts = self.data.problems.counts()
        if counts != told:
            for line in self.data.problems.lines():
                self.listener.say(line)
        return counts

    def _row(self, number: int, network: paddle.nn.Layer) -> Row:
        costs = CostModel(network, {}, self.preprocess.input_hw, self.cut).of({})
        ap = None
        if self.val is not None:
            ap = network_ap(network, self.val, self.preprocess, progress=self._counting("AP"))["ap"]
        return {"step": number, **asdict(costs), "ap": ap}

    def _counting(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self.listener.counted(what, done, total)

    def _within_limit(self, rows: Sequence[Row]) -> int:
        """The last step in front of the first one that lost too much AP; 0 where that is the first step."""
        limit = self.config.max_ap_drop
        for row in rows[1:] if limit is not None else ():
            if (rows[0]["ap"] - row["ap"]) * POINTS > limit:
                return int(row["step"]) - 1
        return len(rows) - 1

    def _stage(self, number: int) -> _Stage:
        """The network after so many steps."""
        if number == 0:
            return _Stage(self.teacher, {})
        network, _ = load_network(self.config.model, self.folder.step(number) / MODEL)
        return _Stage(network, self.folder.read_start(number).kept)

    def _step(self, stage: _Stage, number: int) -> _Stage:
        """Prune once and fine-tune."""
        if not self.folder.has_start(number):
            self._prune(stage, number)
        start = self.folder.read_start(number)
        student = like(self.teacher, start.tensors)
        sides = self.config.input_sizes or (max(self.preprocess.input_hw),)
        plan = self.config.fine_tuning(tuple(sides))
        if plan.images:
            student = Distillation(
                student,
                self.teacher,
                start.kept,
                self.data,
                self.preprocess,
                plan,
                self.folder.step(number),
                self.folder.identity_of(number),
                self.listener,
            ).run()
            student.eval()
        return _Stage(student, start.kept)

    def _prune(self, stage: _Stage, number: int) -> None:
        """Choose channels, drop them, refit, and write what fine-tuning begins with."""
        pruner = Pruner(stage.network, self.config.criterion)
        seen = watch(stage.network, readers(pruner.groups), self.photos.refit, self._counting("refitting"))
        channels = self.choice.channels(pruner, number, lambda names: self._losses(pruner, seen, names, number))
        kept = pruner.kept(channels)
        pruned = pruner.pruned(kept)
        compensate(pruned, pruner.groups, kept, seen)
        composed = dict(stage.kept)
        for name, indices in kept.items():
            for maker in pruner.groups[name].makers:
                composed[maker] = composed[maker][indices] if maker in composed else indices
        save_checkpoint(pruned, self.folder.step(number) / "untuned.npz", self.preprocess)
        tensors = {name: tensor.numpy() for name, tensor in pruned.state_dict().items()}
        self.folder.write_start(number, Start(tensors, composed), channels)

    def _losses(self, pruner: Pruner, seen: Dict[str, Patches], names: Sequence[str], number: int) -> Losses:
        """What pruning these groups alone loses; measured once for all prunings beside this one."""
        identity = self._sensed_by(pruner.network)
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        shared = self.output.parent / SHARED / f"{key[:16]}.json"
        rows = sensitivity(
            pruner, seen, names, self.probe, self.config.divisor, shared, identity, self._counting("sensitivity")
        )
        folder = self.folder.step(number)
        write_json_atomically(folder / "sensitivity.json", {"identity": identity, "rows": rows})
        plot_sensitivity(rows, folder / "sensitivity.png")
        return losses(rows)

    def _sensed_by(self, network: paddle.nn.Layer) -> Dict[str, Any]:
        """What decides a sensitivity analysis, and no more: other targets or learning use the same one."""
        digest = hashlib.sha256()
        for name, tensor in sorted(network.state_dict().items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
        chosen = {name: self.identity[name] for name in ("criterion", "divisor", "annotations_sha256")}
        return {
            **chosen,
            "photos_sha256": self.photos.sha256,
            "network_sha256": digest.hexdigest(),
            "hw": list(self.preprocess.input_hw),
        }
