"""PaddleDetection's names for YOLOv3-DarkNet53 (ppdet: backbones/darknet.py, necks/yolo_fpn.py, heads/yolo_head.py).

Its batch normalisation has Paddle's epsilon and its heads have darknet's channel order, as ours, so only names
differ. Its image is stretched and normalised by ImageNet's mean and deviation, unlike darknet's.
"""

from __future__ import annotations

from typing import Dict

from ppsplit.models.darknet53 import BLOCKS

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
BACKBONE = "backbone."
SIGN = "yolo_head."  # a checkpoint with a name that begins so is PaddleDetection's


def paddledetection_names() -> Dict[str, str]:
    """PaddleDetection's tensor name to ours, all 366 of YOLOv3-DarkNet53."""
    names: Dict[str, str] = {}
    for theirs, ours in _conv_bn_names().items():
        names[f"{theirs}.conv.weight"] = f"{ours}.conv.weight"
        for leaf in ("weight", "bias", "_mean", "_variance"):
            names[f"{theirs}.batch_norm.{leaf}"] = f"{ours}.bn.{leaf}"
    for index, stride in enumerate((32, 16, 8)):
        for leaf in ("weight", "bias"):
            names[f"yolo_head.yolo_output.{index}.{leaf}"] = f"head{stride}.conv.{leaf}"
    return names


def backbone_names() -> Dict[str, str]:
    """Tensor name to ours in files of DarkNet-53 alone, as they are published trained on ImageNet.

    Either PaddleDetection's names without "backbone.", or those of PaddleClas (arch/backbone/model_zoo/darknet.py).
    The latter's activation is ReLU, where detectors have leaky ReLU; PaddleDetection begins with its weights all the
    same.
    """
    whole = paddledetection_names()
    names = {theirs[len(BACKBONE) :]: ours for theirs, ours in whole.items() if theirs.startswith(BACKBONE)}
    layers = {"_conv1": "stem", "_conv2": "stage1.down"}
    for stage, blocks in enumerate(BLOCKS):
        if stage:
            layers[f"_downsample_{stage - 1}"] = f"stage{stage + 1}.down"
        for block in range(1, blocks + 1):
            layers[f"_basic_block_{stage}{block}._conv1"] = f"stage{stage + 1}.block{block}.reduce"
            layers[f"_basic_block_{stage}{block}._conv2"] = f"stage{stage + 1}.block{block}.expand"
    for theirs, ours in layers.items():
        names[f"{theirs}._conv.weight"] = f"{ours}.conv.weight"
        for leaf in ("weight", "bias", "_mean", "_variance"):
            names[f"{theirs}._bn.{leaf}"] = f"{ours}.bn.{leaf}"
    return names


def _conv_bn_names() -> Dict[str, str]:
    names = {"backbone.conv0": "stem", "backbone.downsample0.conv_bn_layer": "stage1.down"}
    for stage, blocks in enumerate(BLOCKS):
        # the convolution that halves into stage i + 1 hangs on stage i
        if stage:
            names[f"backbone.stage.{stage - 1}.downsample.conv_bn_layer"] = f"stage{stage + 1}.down"
        for block in range(blocks):
            theirs = f"backbone.stage.{stage}." + (f"stage.{stage}.{block}" if block else "basicblock0")
            names[f"{theirs}.conv1"] = f"stage{stage + 1}.block{block + 1}.reduce"
            names[f"{theirs}.conv2"] = f"stage{stage + 1}.block{block + 1}.expand"
    for index, stride in enumerate((32, 16, 8)):
        for position, leaf in enumerate(("conv0", "conv1", "conv2", "conv3", "route"), start=1):
            names[f"neck.yolo_block.{index}.conv_module.{leaf}"] = f"neck{stride}.conv{position}"
        names[f"neck.yolo_block.{index}.tip"] = f"head{stride}_conv"
    names["neck.yolo_transition.0"] = "lateral16"
    names["neck.yolo_transition.1"] = "lateral8"
    return names
