"""What belongs to a network beside its layers: one value a family, made in the network's own file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Optional, Tuple

from ppsplit.bundle import DecodeSpec
from ppsplit.errors import ConfigError
from ppsplit.image import Preprocess
from ppsplit.models.coco_names import COCO_NAMES
from ppsplit.paddle_first import paddle
from ppsplit.zoo.weight_file import WeightFile


@dataclass(frozen=True)
class ModelFamily:
    """A network and what belongs to it, as its published weights want it.

    Attributes:
        name: as given to --model.
        build: its parameters to a freshly initialised network.
        params: its default parameters.
        preprocess: how an image becomes its input. Weights of another source can want another one, which
            `load_weights` tells.
        default_cut: where to cut when nothing is said; one tensor crosses there.
        reference_cuts: the cuts worth comparing, from the input on.
        class_names: of the published weights: COCO's, or a classifier's.
        trainable: whether there is a loss for it (in train/).
        fill_from_torch: fills a network of the family from a file of PyTorch's (network, file, the file's name for
            messages); None where no such files are known.
        fill_from_paddle: likewise from a `.pdparams`; None where such a file goes by our own names.
        params_of_file: the parameters of the network that a file of either kind is of (family, file, its name).
    """

    name: str
    build: Callable[..., paddle.nn.Layer]
    params: Any
    preprocess: Preprocess
    default_cut: str
    reference_cuts: Tuple[str, ...]
    class_names: Tuple[str, ...] = COCO_NAMES
    trainable: bool = False
    fill_from_torch: Optional[Callable[[paddle.nn.Layer, WeightFile, str], None]] = None
    fill_from_paddle: Optional[Callable[[paddle.nn.Layer, WeightFile, str], None]] = None
    params_of_file: Optional[Callable[["ModelFamily", WeightFile, str], Any]] = None

    @property
    def decode(self) -> DecodeSpec:
        """How to decode the default network's raw outputs."""
        spec: DecodeSpec = self.params.decode_spec()
        return spec

    def check_trainable(self) -> None:
        """Raises ConfigError where no loss is known."""
        if not self.trainable:
            raise ConfigError(
                f"{self.name} cannot be trained or pruned here, only exported, run and measured; train it with the "
                "program that made its weights"
            )
