"""What can be chosen about fine-tuning with quantizers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, Literal, Optional, Tuple

from ppsplit.data.augment import Augmentation
from ppsplit.distill.finetune import FineTuning
from ppsplit.errors import ConfigError
from ppsplit.train.config import COARSEST_STRIDE, out_of_range

# They change where things go or how fast, not what comes out, so a resumed fine-tuning may change them.
FREE_TO_CHANGE = ("output", "resume", "workers", "save_every", "json", "images", "weights")


@dataclass(frozen=True)
class QatConfig:
    """Fine-tune a network with int8 quantizers in it, on photos without labels, for --quant qat.

    Args:
        model: The network, one that can be trained: a YOLOv3.
        weights: Weight file to begin with; by default the zoo's for this network, fetched if need be.
        output: Folder to write model.npz, activation_clips.json and all figures to; by default qat_model/MODEL.
        resume: Go on in that folder, or begin where there is nothing.
        cut: Quantize, and change, only what stands in front of it; by default the whole network.
        input_hw: Input height and width in pixels that clip values are calibrated at; by default the network's own.
        images: Folder of photos to learn from, without labels.
        algorithm: How the clip values to begin with are calibrated.
        calibration_count: Photos they are calibrated on.
        held_out: Photos of the folder that are not learnt from; the error before and after is of them.
        tune_images: Images learnt from, each repetition counted.
        batch: Images of a step of learning.
        input_sizes: Input sides to learn at; by default the network's own.
        lr: Learning rate of weights after warm-up.
        clip_lr: Likewise of the clip values' logarithms; 0 leaves them as they were calibrated.
        warmup_steps: Steps over which both rise.
        feature_weight: Of the distance between maps, beside that between heads.
        clip_norm: Gradients are scaled down to this norm.
        ema_decay: Of the average of weights that is kept.
        flip: Chance of a mirror image.
        colour: Strength of colour jitter.
        expand: Chance of a larger canvas.
        crop: Chance of a random crop.
        seed: Of everything random.
        workers: Threads that read images.
        save_every: Learning steps between two states to resume from.
        json: Write the printed table there too.
    """

    model: str = "yolov3_tiny"
    weights: Optional[Path] = None
    output: Optional[Path] = None
    resume: bool = False
    cut: Optional[str] = None
    input_hw: Optional[Tuple[int, int]] = None
    images: Path = Path("dataset/coco/train2017")
    algorithm: Literal["kl", "hist", "mse", "aciq", "lapq"] = "hist"
    calibration_count: int = 32
    held_out: int = 32
    tune_images: int = 600
    batch: int = 4
    input_sizes: Tuple[int, ...] = ()
    lr: float = 0.00002
    clip_lr: float = 0.001
    warmup_steps: int = 10
    feature_weight: float = 10.0
    clip_norm: float = 100.0
    ema_decay: float = 0.98
    flip: float = 0.5
    colour: float = 0.1
    expand: float = 0.0
    crop: float = 0.2
    seed: int = 0
    workers: int = 2
    save_every: int = 50
    json: Optional[Path] = None

    def __post_init__(self) -> None:
        positive = ("calibration_count", "held_out", "tune_images", "batch", "lr", "clip_norm", "workers", "save_every")
        wrong = out_of_range(self, positive, ("warmup_steps", "clip_lr", "feature_weight", "seed"))
        wrong += [f"input_sizes {side}" for side in self.input_sizes if side < 32 or side % COARSEST_STRIDE]
        if not 0 <= self.ema_decay < 1:
            wrong.append(f"ema_decay {self.ema_decay}")
        if wrong:
            raise ConfigError(f"out of range: {', '.join(wrong)}; see `ppsplit train-qat --help`")
        if self.input_hw and any(side < COARSEST_STRIDE or side % COARSEST_STRIDE for side in self.input_hw):
            raise ConfigError(f"input_hw must be multiples of {COARSEST_STRIDE}, not {self.input_hw}")
        self.augmentation  # noqa: B018  checks what it reads

    @property
    def augmentation(self) -> Augmentation:
        """The changes to images. Raises ConfigError."""
        return Augmentation(self.flip, self.colour, self.expand, self.crop)

    def fine_tuning(self, own_sides: Tuple[int, int]) -> FineTuning:
        """How to fine-tune; at the network's own input size unless others were chosen."""
        return FineTuning(
            images=self.tune_images,
            batch=self.batch,
            input_sizes=self.input_sizes or (max(own_sides),),
            lr=self.lr,
            warmup_steps=self.warmup_steps,
            feature_weight=self.feature_weight,
            clip_norm=self.clip_norm,
            ema_decay=self.ema_decay,
            augmentation=self.augmentation,
            seed=self.seed,
            workers=self.workers,
            save_every=self.save_every,
        )

    def identity(self) -> Dict[str, Any]:
        """What decides the result: a fine-tuning can be resumed only with the same."""
        return {name: value for name, value in asdict(self).items() if name not in FREE_TO_CHANGE}
