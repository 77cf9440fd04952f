"""What can be chosen about a pruning."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, List, Literal, Optional, Tuple, Union

from ppsplit.data.augment import Augmentation
from ppsplit.distill.finetune import FineTuning
from ppsplit.errors import ConfigError
from ppsplit.train.config import COARSEST_STRIDE, out_of_range

# They change where things go or how fast, not what comes out, so a resumed pruning may change them.
FREE_TO_CHANGE = ("output", "resume", "workers", "save_every", "json", "images", "root", "weights")
DECIDES_NO_STEP = ("max_ap_drop",)  # only how many are made, and which is kept; a resumed pruning may change it, too
RATIOS_WRITTEN = "--ratios conv7=0.5,conv6=0.3, or in a config `ratios: {conv7: 0.5, conv6: 0.3}`"


@dataclass(frozen=True)
class PruneConfig:
    """Prune a network's channels and fine-tune what is left on photos without labels.

    Args:
        model: The network, yolov3_tiny or yolov3_darknet53.
        weights: Weight file to prune; by default the zoo's for this network, fetched if need be.
        output: Folder to write model.npz and all figures to; by default pruned_model/MODEL.
        resume: Go on in that folder, or begin where there is nothing.
        criterion: Which channels of a layer go first; l1, fpgm or bn (by batch normalisation's scale).
        ratios: Shares of channels to prune by structural path, patterns allowed, instead of the targets;
            conv7=0.5,conv6=0.3, or {conv7: 0.5, conv6: 0.3} in a config.
        target: whole saves MACs of the whole network; edge, of the half in front of the cut, and what crosses it.
        target_flops: MACs to save, "-40%"; of the edge half with --target edge.
        target_payload: Values that cross the cut to save, "-40%"; with --target edge.
        cut: Where the edge ends; by default the network's own choice.
        input_hw: Input height and width in pixels; by default the network's own.
        steps: Reach the target in so many steps, fine-tuning after each.
        max_ap_drop: With a labelled set, stop and keep the step before when AP has fallen by more points than this.
        images: Folder of photos to learn from, without labels.
        root: Folder of a labelled data set to measure AP on; not one that the result is reported on.
        val_split: Its split.
        probe_images: Photos that layers are refitted on; with too few a wide layer learns them by heart.
        divisor: Channels that stay are a multiple of it; CPUs work on eight at a time.
        tune_images: Images learnt from after each step, each repetition counted; 0 for no fine-tuning.
        batch: Images of a step of learning.
        input_sizes: Input sides to learn at; by default the network's own.
        lr: Learning rate after warm-up.
        warmup_steps: Steps over which it rises.
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
    criterion: Literal["l1", "fpgm", "bn"] = "fpgm"
    ratios: Union[Tuple[str, ...], Dict[str, float]] = ()
    target: Literal["whole", "edge"] = "whole"
    target_flops: str = "-40%"
    target_payload: str = "-40%"
    cut: Optional[str] = None
    input_hw: Optional[Tuple[int, int]] = None
    steps: int = 1
    max_ap_drop: Optional[float] = None
    images: Path = Path("dataset/coco/train2017")
    root: Optional[Path] = None
    val_split: str = "val2017"
    probe_images: int = 192
    divisor: int = 8
    tune_images: int = 4000
    batch: int = 8
    input_sizes: Tuple[int, ...] = ()
    lr: float = 0.00015
    warmup_steps: int = 20
    feature_weight: float = 10.0
    clip_norm: float = 100.0
    ema_decay: float = 0.99
    flip: float = 0.5
    colour: float = 0.3
    expand: float = 0.2
    crop: float = 0.3
    seed: int = 0
    workers: int = 2
    save_every: int = 100
    json: Optional[Path] = None

    def __post_init__(self) -> None:
        positive = ("steps", "probe_images", "divisor", "batch", "lr", "clip_norm", "workers", "save_every")
        wrong = out_of_range(self, positive, ("tune_images", "warmup_steps"))
        wrong += [f"input_sizes {side}" for side in self.input_sizes if side < 32 or side % COARSEST_STRIDE]
        if not 0 <= self.ema_decay < 1:
            wrong.append(f"ema_decay {self.ema_decay}")
        if wrong:
            raise ConfigError(f"out of range: {', '.join(wrong)}; see `ppsplit train-prune --help`")
        if self.max_ap_drop is not None and self.root is None:
            raise ConfigError("max_ap_drop needs a labelled set to measure AP on; give --root and --val-split")
        if self.ratios and self.steps > 1:
            raise ConfigError("ratios are reached in one step; give --target-flops for several")
        if self.seed < 0 or self.feature_weight < 0 or (self.max_ap_drop is not None and self.max_ap_drop < 0):
            raise ConfigError("seed, feature_weight and max_ap_drop cannot be below 0")
        if self.input_hw and any(side < COARSEST_STRIDE or side % COARSEST_STRIDE for side in self.input_hw):
            raise ConfigError(f"input_hw must be multiples of {COARSEST_STRIDE}, not {self.input_hw}")
        self.augmentation  # noqa: B018  these three check what they read
        self.shares()
        self.named_ratios()

    @property
    def augmentation(self) -> Augmentation:
        """The changes to images. Raises ConfigError."""
        return Augmentation(self.flip, self.colour, self.expand, self.crop)

    def shares(self) -> Dict[str, float]:
        """Cost, as `Costs` names it, to the share of it that may stay after the last step."""
        if self.target == "whole":
            return {"macs": _share("target_flops", self.target_flops)}
        return {
            "edge_macs": _share("target_flops", self.target_flops),
            "payload_elements": _share("target_payload", self.target_payload),
        }

    def named_ratios(self) -> Dict[str, float]:
        """`ratios` as a mapping, however they were written. Raises ConfigError."""
        if isinstance(self.ratios, dict):
            return dict(self.ratios)
        found = {}
        for text in self.ratios:
            name, _, ratio = text.rpartition("=")
            try:
                found[name] = float(ratio)
            except ValueError:
                name = ""
            if not name:
                raise ConfigError(f"a ratio is written NAME=SHARE, as in {RATIOS_WRITTEN}; not {text!r}")
        return found

    def fine_tuning(self, sides: Tuple[int, ...]) -> FineTuning:
        """How to fine-tune after a step, at these input sides."""
        return FineTuning(
            images=self.tune_images,
            batch=self.batch,
            input_sizes=sides,
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
        """What decides the result: a pruning can be resumed only with the same, `DECIDES_NO_STEP` left aside."""
        chosen = {name: value for name, value in asdict(self).items() if name not in FREE_TO_CHANGE}
        ratios: List[str] = [f"{name}={ratio}" for name, ratio in self.named_ratios().items()]
        return {**chosen, "ratios": ratios}


def _share(option: str, text: str) -> float:
    """The share that stays, of a saving written "-40%"."""
    try:
        saved = float(text.strip().lstrip("-").rstrip("%")) / 100
    except ValueError:
        saved = -1.0
    if not text.strip().startswith("-") or not text.strip().endswith("%") or not 0 <= saved < 1:
        raise ConfigError(f"{option} is what to save, as in -40%; not {text!r}")
    return 1 - saved
