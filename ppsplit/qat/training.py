"""Fine-tuning with quantizers, from a network to a checkpoint with clip values beside it; resumable."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Sequence, Set

import numpy as np

from ppsplit.data.image_folder import unlabelled_set
from ppsplit.data.sample import read_or_skip
from ppsplit.data.training_set import LabelledImage
from ppsplit.distill.finetune import Distillation
from ppsplit.distill.photos import spread
from ppsplit.errors import CalibrationError, ConfigError
from ppsplit.export.clips import write_clips
from ppsplit.files import sha256_of, write_json_atomically
from ppsplit.image import to_input
from ppsplit.models.blocks import ConvBN
from ppsplit.models.checkpoint import save_checkpoint
from ppsplit.models.weights import load_network
from ppsplit.paddle_first import paddle
from ppsplit.qat.config import QatConfig
from ppsplit.qat.fake_quant import LOG_CLIPS, Quantizers, add_clips, clips_of
from ppsplit.qat.points import Frozen, Points, quantization_error
from ppsplit.train.listener import Listener

MODEL, STATE, REPORT = "model.npz", "state.npz", "qat.json"

Row = Dict[str, Any]


class QuantTraining:
    """A fine-tuning with quantizers, ready to run. Nothing is written before it runs.

    Args:
        config: all that was chosen.
        weights: the file to begin with.
        listener: hears of progress.

    Raises:
        ConfigError, DataError, WeightsError, CutError, QuantizationError: something chosen cannot be used.
    """

    def __init__(self, config: QatConfig, weights: Path, listener: Listener) -> None:
        self.config, self.listener = config, listener
        self.output = Path(config.output or Path("qat_model") / config.model)
        self.data = unlabelled_set(config.images)
        self._held_out = spread(self.data.images, config.held_out)
        away = {image.path for image in self._held_out}
        self._learnt = replace(self.data, images=tuple(i for i in self.data.images if i.path not in away))
        if config.batch > len(self._learnt.images):
            raise ConfigError(
                f"{config.images} has {len(self.data.images)} photos, of which --held-out {config.held_out} leaves "
                f"{len(self._learnt.images)} to learn from, fewer than --batch {config.batch}; give more photos"
            )
        self.teacher, preprocess = load_network(config.model, weights)
        self.teacher.eval()
        self.preprocess = replace(preprocess, input_hw=config.input_hw or preprocess.input_hw)
        images = [image.path.name for image in self.data.images]
        decisive = {**config.identity(), "weights_sha256": sha256_of(weights), "images": images}
        self.identity = json.loads(json.dumps(decisive))  # as it will be read back
        self.rows = self._finished_rows()
        self.frozen = Frozen(self.teacher, self.preprocess.input_hw, config.cut)

    def run(self) -> List[Row]:
        """Learn to the end.

        Returns:
            two rows, "ptq-..." as it began and "qat" as it ended: the squared error of the network's outputs over
            their squared norm, on the photos held out, in a simulation of what is exported.
        """
        if self.rows:
            return self.rows
        held_out = self._inputs(self._held_out)
        exact = self.frozen.outputs(held_out)
        calibration = self._inputs(spread(self._learnt.images, self.config.calibration_count))
        self.listener.say(f"calibrating {len(self.frozen.points.names)} tensors by {self.config.algorithm}")
        clips = self.frozen.calibrated(calibration, self.config.algorithm)
        before = quantization_error(self.frozen, clips, held_out, exact)
        student = self._learn(clips)
        network, learnt = self._plain(student), clips_of(student)
        changed = Frozen(network, self.preprocess.input_hw, self.config.cut)
        after = quantization_error(changed, learnt, held_out, exact)
        for line in self.data.problems.lines():
            self.listener.say(line)
        rows = [
            {"row": f"ptq-{self.config.algorithm}", "output_error": before, "photos": len(held_out)},
            {"row": "qat", "output_error": after, "photos": len(held_out)},
        ]
        self._write(network, clips, learnt, rows)
        return rows

    def _finished_rows(self) -> List[Row]:
        """The rows of the fine-tuning that the folder holds; none where it is still to be made or to be gone on with.

        Raises:
            ConfigError: there is one and it is not to be resumed, has other settings, or is damaged.
        """
        report = self.output / REPORT
        if not self.config.resume and any((self.output / name).exists() for name in (MODEL, STATE, REPORT)):
            raise ConfigError(
                f"{self.output} holds a checkpoint or a fine-tuning already; go on with --resume, or give another "
                "--output"
            )
        if not report.is_file():
            return []
        try:
            values = json.loads(report.read_text(encoding="utf-8"))
            identity, rows = dict(values["identity"]), list(values["rows"])
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{report} is damaged ({error!r}); move its folder away and begin again") from error
        changed = [key for key, value in self.identity.items() if identity.get(key) != value]
        if changed:
            raise ConfigError(
                f"{report} is of a fine-tuning with other settings ({', '.join(changed)}); resume with the same, or "
                "give another --output"
            )
        return rows

    def _inputs(self, images: Sequence[LabelledImage]) -> List[np.ndarray]:
        """Photos as the network takes them; what cannot be read is left out and named later."""
        samples = (read_or_skip(image, self.data.problems) for image in images)
        found = [to_input(sample.image_rgb, self.preprocess)[0] for sample in samples if sample is not None]
        if not found:
            raise CalibrationError(
                f"none of {len(images)} photos in {self.config.images} can be read: "
                f"{'; '.join(self.data.problems.lines())}; give other photos with --images"
            )
        return found

    def _learn(self, clips: np.ndarray) -> paddle.nn.Layer:
        student = quantized_copy(self.teacher, self.frozen.points, clips)
        log_clips = getattr(student, LOG_CLIPS)
        log_clips.optimize_attr["learning_rate"] = self.config.clip_lr / self.config.lr
        log_clips.stop_gradient = self.config.clip_lr == 0
        return Distillation(
            student,
            self.teacher,
            {},
            self._learnt,
            self.preprocess,
            self.config.fine_tuning(self.preprocess.input_hw),
            self.output,
            self.identity,
            self.listener,
            Quantizers(self.frozen.points.readers),
        ).run()

    def _plain(self, student: paddle.nn.Layer) -> paddle.nn.Layer:
        """The network as its kind is, with what the student has learnt."""
        network = copy.deepcopy(self.teacher)
        learnt = student.state_dict()
        for name, tensor in network.state_dict().items():
            tensor.set_value(learnt[name])
        return network

    def _write(self, network: paddle.nn.Layer, start: np.ndarray, learnt: np.ndarray, rows: Sequence[Row]) -> None:
        names = self.frozen.points.names
        began, ended = ({n: float(c) for n, c in zip(names, clips)} for clips in (start, learnt))
        save_checkpoint(network, self.output / MODEL, self.preprocess)
        write_clips(self.output / MODEL, ended)
        report = {"identity": self.identity, "rows": list(rows), "clips": {"began": began, "ended": ended}}
        write_json_atomically(self.output / REPORT, report)
        (self.output / STATE).unlink(missing_ok=True)  # it has served


def quantized_copy(network: paddle.nn.Layer, points: Points, clips: np.ndarray) -> paddle.nn.Layer:
    """A copy with clip values, float [A], in which only these and what is quantized learns."""
    student = copy.deepcopy(network)
    layers = dict(student.named_sublayers(include_self=True))
    learns: Set[int] = set()
    for path in points.readers:
        parent = layers[path.rpartition(".")[0]]
        learns.update(id(p) for p in (parent if isinstance(parent, ConvBN) else layers[path]).parameters())
    for parameter in student.parameters():
        if id(parameter) not in learns:
            parameter.stop_gradient = True
    add_clips(student, clips)
    return student
