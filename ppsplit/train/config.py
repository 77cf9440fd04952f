"""What can be chosen about a training."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, List, Literal, Optional, Sequence, Tuple

from ppsplit.data.augment import Augmentation
from ppsplit.errors import ConfigError

# They change where things go or how fast, not what is learnt, so a resumed training may change them.
FREE_TO_CHANGE = ("root", "output", "resume", "workers", "save_every", "eval_every", "weights", "backbone")
COARSEST_STRIDE = 32


@dataclass(frozen=True)
class TrainConfig:
    """Train a network on a set in COCO's format.

    Args:
        model: The network, yolov3_tiny or yolov3_darknet53.
        weights: Weight file to begin with; by default the zoo's for this network, fetched if need be.
        scratch: Begin with random weights instead.
        backbone: Begin with the backbone of this file, or of the zoo's weights of this name, and the rest at random.
        width: With --scratch, multiplies all inner channels.
        root: Folder of the data set.
        train_split: Its split to learn from.
        val_split: Its split to measure AP on; `null` in a config for none.
        output: Folder to write: last.npz to resume from, model.npz and best.npz to use, steps.csv, ap.csv, plots/.
        resume: Go on from last.npz in the output folder, or begin where there is none.
        epochs: Times that every image is seen.
        batch: Images of a step, over all processes together.
        input_sizes: Input sides in pixels, multiples of 32; every batch has one of them.
        eval_size: Input side for measuring AP; by default the largest of input_sizes.
        lr: Learning rate after warm-up.
        decay: How it falls: cosine, or by 0.1 at each milestone.
        milestones: Shares of all steps, for decay step.
        warmup_steps: Steps over which the learning rate rises from nothing.
        momentum: Of the optimizer.
        weight_decay: L2 penalty on convolution weights, not on biases and batch normalisation.
        clip_norm: Gradients are scaled down to this norm.
        ema_decay: Of the average of weights that is measured and kept.
        freeze_bn: Keep batch normalisation's running statistics as they are, for fine-tuning on little data.
        ignore_threshold: A box that overlaps an object by more IoU is not told that it is background.
        label_smoothing: Move class targets away from 0 and 1.
        flip: Chance of a mirror image.
        colour: Strength of colour jitter.
        expand: Chance of a larger canvas.
        crop: Chance of a random crop.
        mosaic: Chance of four images in one.
        mixup: Chance of two images blended.
        mixing_epochs: Mosaic and mixup end with this epoch; by default at nine tenths.
        seed: Of everything random.
        workers: Threads that read images, in each process.
        save_every: Also save last.npz after so many steps within an epoch; 0 for not.
        eval_every: Measure AP after so many epochs, and after the last.
        amp: Compute in bfloat16 where it is safe; on GPUs that have it, only.
    """

    model: str = "yolov3_tiny"
    weights: Optional[Path] = None
    scratch: bool = False
    backbone: Optional[Path] = None
    width: float = 1.0
    root: Path = Path("dataset/shapes")
    train_split: str = "train"
    val_split: Optional[str] = "val"
    output: Path = Path("output/train")
    resume: bool = False
    epochs: int = 4
    batch: int = 8
    input_sizes: Tuple[int, ...] = (192,)
    eval_size: Optional[int] = None
    lr: float = 0.001
    decay: Literal["cosine", "step"] = "cosine"
    milestones: Tuple[float, ...] = (0.8, 0.9)
    warmup_steps: int = 50
    momentum: float = 0.9
    weight_decay: float = 0.0005
    clip_norm: float = 35.0
    ema_decay: float = 0.998
    freeze_bn: bool = False
    ignore_threshold: float = 0.7
    label_smoothing: bool = True
    flip: float = 0.5
    colour: float = 0.5
    expand: float = 0.5
    crop: float = 0.5
    mosaic: float = 0.0
    mixup: float = 0.0
    mixing_epochs: Optional[int] = None
    seed: int = 0
    workers: int = 2
    save_every: int = 0
    eval_every: int = 1
    amp: bool = False

    def __post_init__(self) -> None:
        sizes = [*self.input_sizes, self.side]
        if not self.input_sizes or any(size < COARSEST_STRIDE or size % COARSEST_STRIDE for size in sizes):
            raise ConfigError(f"input_sizes and eval_size must be multiples of {COARSEST_STRIDE}, not {sizes}")
        positive = ("epochs", "batch", "lr", "clip_norm", "workers", "eval_every", "width")
        wrong = out_of_range(self, positive, ("warmup_steps", "save_every"))
        shares = ("momentum", "ema_decay", "ignore_threshold")
        wrong += [f"{name} {getattr(self, name)}" for name in shares if not 0 <= getattr(self, name) <= 1]
        if wrong:
            raise ConfigError(f"out of range: {', '.join(wrong)}; see `ppsplit train --help`")
        begun = [name for name in ("weights", "scratch", "backbone") if getattr(self, name)]
        if len(begun) > 1:
            raise ConfigError(
                f"{' and '.join(begun)} contradict each other; --weights begins with a whole network, --backbone with "
                "its backbone and a fresh rest, --scratch with nothing; leave one out (--scratch false where a config "
                "says true)"
            )
        if self.width != 1.0 and not self.scratch:
            raise ConfigError("width belongs to --scratch; a weight file says how wide its network is")

    @property
    def side(self) -> int:
        """Input side for measuring AP."""
        return self.eval_size or max(self.input_sizes, default=0)

    @property
    def augmentation(self) -> Augmentation:
        """The changes to images."""
        return Augmentation(self.flip, self.colour, self.expand, self.crop, self.mosaic, self.mixup)

    @property
    def last_mixing_epoch(self) -> int:
        """The first epoch without mosaic and mixup."""
        return self.mixing_epochs if self.mixing_epochs is not None else self.epochs * 9 // 10

    def identity(self) -> Dict[str, Any]:
        """What decides the result, as JSON holds it: a training can be resumed only with the same."""
        return {name: value for name, value in asdict(self).items() if name not in FREE_TO_CHANGE}


def out_of_range(config: object, positive: Sequence[str], not_negative: Sequence[str]) -> List[str]:
    """Those of the fields named that are not above 0, or not at least 0, with their values."""
    wrong = [name for name in positive if not getattr(config, name) > 0]  # so that no NaN passes
    wrong += [name for name in not_negative if not getattr(config, name) >= 0]
    return [f"{name} {getattr(config, name)}" for name in wrong]
