"""A network as the sections of a darknet .cfg, and the comparison of a .cfg with a network."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Tuple

from ppsplit.errors import WeightsError
from ppsplit.models.blocks import ConvBN, ConvLayer, conv_layers
from ppsplit.models.darknet_cfg import Section
from ppsplit.paddle_first import paddle

MOST_REPORTED = 6  # differences named in an error; a wrong file differs everywhere


def darknet_sections(network: paddle.nn.Layer, input_hw: Tuple[int, int] = (416, 416)) -> List[Section]:
    """The sections of the .cfg that describes `network`, [net] first.

    The order of sections is the network's `darknet_plan`; channels and kernels are those its
    convolutions have, so a pruned network is described as it is.
    """
    net = {"batch": 1, "subdivisions": 1, "height": input_hw[0], "width": input_hw[1], "channels": 3}
    sections = [_section("net", net)]
    convolutions, heads = iter(conv_layers(network)), iter(network.params.masks)
    for step in network.darknet_plan:
        kind, _, detail = step.partition(" ")
        if kind == "conv":
            sections.append(_convolution(next(convolutions)))
        elif kind.startswith("pool"):
            sections.append(_maxpool(kind))
        elif kind == "shortcut":
            sections.append(_section("shortcut", {"from": detail, "activation": "linear"}))
        elif kind == "route":
            sections.append(_section("route", {"layers": detail.replace(" ", ",")}))
        elif kind == "upsample":
            sections.append(_section("upsample", {"stride": 2}))
        else:
            sections.append(_yolo(network, next(heads)))
    return sections


def check_cfg(sections: Sequence[Section], network: paddle.nn.Layer) -> None:
    """Compare a .cfg with `network`: layer by layer their types, filters, kernels, strides, routes, anchors, masks.

    Raises:
        WeightsError: they differ; the message names the layers, and the known trap of yolov3-tiny.cfg.
    """
    expected = darknet_sections(network)
    found_facts, expected_facts = _all_facts(sections), _all_facts(expected)
    if len(found_facts) != len(expected_facts):
        raise WeightsError(
            f"the cfg has {len(found_facts)} layers, {network.model_name} has {len(expected_facts)}; "
            "give the cfg that belongs to this network"
        )
    problems = []
    for index, (found, wanted) in enumerate(zip(found_facts, expected_facts)):
        for key in sorted(wanted.keys() | found.keys()):
            if found.get(key) != wanted.get(key):
                line = sections[index + 1].line
                problems.append(f"layer {index} (line {line}) has {key} {found.get(key)}, expected {wanted.get(key)}")
    if problems:
        more = f"; and {len(problems) - MOST_REPORTED} more" if len(problems) > MOST_REPORTED else ""
        trap = _mask_trap(found_facts, expected_facts)
        raise WeightsError(
            f"the cfg does not describe {network.model_name}: {'; '.join(problems[:MOST_REPORTED])}{more}. "
            + (trap or "Give the cfg that belongs to this network, or build the network for it")
        )


def _mask_trap(found: List[Dict[str, Any]], expected: List[Dict[str, Any]]) -> str:
    """What to say when the mask of the second head is all that is wrong: then it is the trap of the packaged cfg."""
    differing = [(f, e) for f, e in zip(found, expected) if f != e]
    if len(differing) != 1 or differing[0][0].get("mask") != (0, 1, 2) or differing[0][1].get("mask") != (1, 2, 3):
        return ""
    return (
        "This is a known trap: yolov3-tiny.cfg as packaged says mask=0,1,2 in its second head, but the published "
        "weights were trained with 1,2,3 and lose a third of their AP otherwise. Correct that line, or leave the "
        "cfg out"
    )


def _all_facts(sections: Sequence[Section]) -> List[Dict[str, Any]]:
    return [_facts(section, index) for index, section in enumerate(sections[1:])]


def _facts(section: Section, index: int) -> Dict[str, Any]:
    """What must agree, with darknet's defaults filled in and layers counted from the first."""
    facts: Dict[str, Any] = {"type": section.kind}
    if section.kind == "convolutional":
        size = section.integer("size", 1)
        facts.update(filters=section.integer("filters", 1), size=size, stride=section.integer("stride", 1))
        # pad=1 asks for size // 2; without it darknet takes padding=
        facts["padding"] = size // 2 if section.integer("pad", 0) else section.integer("padding", 0)
        facts["groups"] = section.integer("groups", 1)
        facts["batch_normalize"] = section.integer("batch_normalize", 0)
        facts["activation"] = section.options.get("activation", "logistic")
    elif section.kind == "maxpool":
        stride = section.integer("stride", 1)
        size = section.integer("size", stride)
        facts.update(stride=stride, size=size, padding=section.integer("padding", size - 1))
    elif section.kind == "route":
        facts["layers"] = tuple(_absolute(layer, index) for layer in section.integers("layers"))
    elif section.kind == "shortcut":
        facts["from"] = _absolute(section.integer("from"), index)
        facts["activation"] = section.options.get("activation", "linear")
    elif section.kind == "upsample":
        facts["stride"] = section.integer("stride", 2)
    elif section.kind == "yolo":
        facts.update(classes=section.integer("classes", 20), mask=section.integers("mask"))
        facts["anchors"] = section.numbers("anchors")
    return facts


def _absolute(layer: int, index: int) -> int:
    return layer if layer >= 0 else index + layer


def _section(kind: str, options: Dict[str, Any]) -> Section:
    return Section(kind, {key: str(value) for key, value in options.items()})


def _maxpool(step: str) -> Section:
    """Of "pool/2" (2x2 at stride 2) or "pool5/1" (5x5 at stride 1)."""
    size, _, stride = step[len("pool") :].partition("/")
    return _section("maxpool", {"size": size or 2, "stride": stride})


def _convolution(layer: ConvLayer) -> Section:
    conv = layer.conv
    filters, _, size, _ = conv.weight.shape
    normalised = isinstance(layer, ConvBN)
    options: Dict[str, Any] = {"batch_normalize": 1} if normalised else {}
    options.update(filters=filters, size=size, stride=conv._stride[0], pad=1)
    options["activation"] = "leaky" if normalised else "linear"
    return _section("convolutional", options)


def _yolo(network: paddle.nn.Layer, mask: Sequence[int]) -> Section:
    params = network.params
    anchors = ",".join(f"{side:g}" for anchor in params.anchors for side in anchor)
    options = {"mask": ",".join(str(m) for m in mask), "anchors": anchors, "classes": params.num_classes}
    return _section("yolo", {**options, "num": len(params.anchors)})
