"""What the classifiers share: parameters, input, decoding, blocks, and names in files of other programs.

They have no dropout: it does nothing outside training, and they are not trained here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Dict, List, Tuple

from ppsplit.bundle import DecodeSpec
from ppsplit.image import USUAL_CROP_SHARE, Preprocess
from ppsplit.models.blocks import ConvBN
from ppsplit.models.family import ModelFamily
from ppsplit.models.foreign_layers import fill_from_paddle, fill_from_torch, params_of_file
from ppsplit.models.imagenet_names import IMAGENET_NAMES
from ppsplit.models.paddledetection import IMAGENET_MEAN, IMAGENET_STD
from ppsplit.paddle_first import paddle

# the shorter side to 256 pixels, of which the middle 224, as ImageNet's classifiers are measured
CENTRE_CROP = Preprocess((224, 224), resize="crop", mean=IMAGENET_MEAN, std=IMAGENET_STD, crop_share=USUAL_CROP_SHARE)


@dataclass(frozen=True)
class ClassifierParams:
    """What can be chosen.

    Attributes:
        num_classes: C.
        width: multiplies all inner channels.
    """

    num_classes: int = 1000
    width: float = 1.0

    strides: ClassVar[Tuple[int, ...]] = (32,)  # of the last features

    @property
    def output_channels(self) -> Tuple[int, ...]:
        """Of each raw output; there is one."""
        return (self.num_classes,)

    def decode_spec(self) -> DecodeSpec:
        """How to decode the logits: the five likeliest classes."""
        return DecodeSpec("classify", {"num_classes": self.num_classes, "softmax": True, "max_detections": 5})


class ConvRelu(ConvBN):
    """Convolution, batch normalisation, ReLU."""

    def activate(self, x: paddle.Tensor) -> paddle.Tensor:
        return paddle.nn.functional.relu(x)


class ConvRelu6(ConvBN):
    """Convolution, batch normalisation, ReLU that ends at 6."""

    def activate(self, x: paddle.Tensor) -> paddle.Tensor:
        return paddle.nn.functional.relu6(x)


class ConvLinear(ConvBN):
    """Convolution and batch normalisation."""

    def activate(self, x: paddle.Tensor) -> paddle.Tensor:
        return x


class Classifier(paddle.nn.Layer):
    """Features, their mean, and one linear layer. A network derives from it and builds its stages and `_end`.

    Attributes:
        params: its parameters.
        class_names: set by who knows them, one a class; see `class_names_of`.
        training_only: beginnings of names, in other programs' files, of layers that only training has.
    """

    model_name: str
    class_names: Tuple[str, ...] = ()
    training_only: Tuple[str, ...] = ()

    def __init__(self, params: Any) -> None:
        super().__init__()
        self.params = params

    def _end(self, channels: int) -> None:
        """Build what follows the features."""
        self.pool = paddle.nn.AdaptiveAvgPool2D(1)
        self.head = paddle.nn.Linear(channels, self.params.num_classes)

    def features(self, image: paddle.Tensor) -> paddle.Tensor:
        """The last map, float32 [N, F, H/32, W/32], of image float32 [N, 3, H, W]."""
        raise NotImplementedError

    def foreign_layers(self) -> Dict[str, str]:
        """Layer names in published files ("layer1.0.conv1", with convolution and normalisation apart) to ours."""
        raise NotImplementedError

    def forward(self, image: paddle.Tensor) -> List[paddle.Tensor]:
        """The logits, one tensor.

        Args:
            image: float32 [N, 3, H, W]; H and W multiples of 32.

        Returns:
            float32 [N, C].
        """
        return [self.head(paddle.flatten(self.pool(self.features(image)), 1))]


def classifier_family(
    name: str,
    network: Any,
    params: ClassifierParams,
    default_cut: str,
    reference_cuts: Tuple[str, ...],
    preprocess: Preprocess = CENTRE_CROP,
) -> ModelFamily:
    """A family of ImageNet's classes; its files are torchvision's, Paddle's and our own."""
    return ModelFamily(
        name=name,
        build=network,
        params=params,
        preprocess=preprocess,
        default_cut=default_cut,
        reference_cuts=reference_cuts,
        class_names=IMAGENET_NAMES,
        fill_from_torch=fill_from_torch,
        params_of_file=params_of_file,
        fill_from_paddle=fill_from_paddle,
    )


def conv_and_norm(conv: str, norm: str, ours: str) -> Dict[str, str]:
    """Their two names of a `ConvBN` to those of its two layers."""
    return {conv: f"{ours}.conv", norm: f"{ours}.bn"}
