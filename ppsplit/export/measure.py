"""Shapes as they are, not as a program declares them: run once with one image and once with two."""

from __future__ import annotations

import dataclasses
from typing import List, Sequence, Tuple

import numpy as np

from ppsplit.bundle import FULL, HEAD, Bundle, Manifest, TensorSpec
from ppsplit.errors import CutError
from ppsplit.export.graph import GraphCut
from ppsplit.runtime import Runtime, load_program, run_part

FLOATS = ("float16", "float32", "float64")


def refuse_integers(cut: GraphCut) -> None:
    """Raise CutError where an integer tensor crosses and the cloud computes with it.

    In a network on images such a tensor is a size, and a sender could choose what the cloud allocates.
    """
    read = {name for operator in cut.cloud for name in operator.inputs}
    integers = [spec.name for spec in cut.tensors if spec.dtype not in FLOATS and spec.name in read]
    if integers:
        raise CutError(
            f"cut {cut.name!r} sends {integers[0]!r}, which holds sizes and not features; choose a cut before or "
            "behind it (see --list-cuts)"
        )


def measured(bundle: Bundle, images: Sequence[np.ndarray]) -> Manifest:
    """The manifest with the shapes that its tensors have when the fp32 programs run in Paddle Inference.

    Args:
        images: network inputs, float32 [1, 3, H, W]; one or two.

    Raises:
        CutError: a tensor that crosses, or an output, does not have the batch, and only that, in front.
    """
    manifest = bundle.manifest
    batches = [images[0]]
    if manifest.input.shape[0] == -1:
        batches.append(np.concatenate([images[0], images[-1]]))
    first = bundle.cut()
    full = load_program(bundle, bundle.program(first, FULL, "paddle"))
    outputs = _measured_specs(full, manifest.outputs, manifest.input.name, batches)
    cuts = []
    for cut in manifest.cuts:
        head = load_program(bundle, bundle.program(cut, HEAD, "paddle", "fp32"))
        cuts.append(dataclasses.replace(cut, tensors=_measured_specs(head, cut.tensors, manifest.input.name, batches)))
    return dataclasses.replace(manifest, outputs=outputs, cuts=tuple(cuts))


def _measured_specs(
    runtime: Runtime, specs: Sequence[TensorSpec], input_name: str, batches: Sequence[np.ndarray]
) -> Tuple[TensorSpec, ...]:
    names = [spec.name for spec in specs]
    runs = [run_part(runtime, {input_name: batch}, names) for batch in batches]
    return tuple(_measured_spec(spec, [run[spec.name] for run in runs]) for spec in specs)


def _measured_spec(spec: TensorSpec, values: List[np.ndarray]) -> TensorSpec:
    shapes = [value.shape for value in values]
    if any(not shape or shape[0] != count for count, shape in enumerate(shapes, 1)) or len({s[1:] for s in shapes}) > 1:
        raise CutError(
            f"tensor {spec.name!r} has shape {' and '.join(str(list(s)) for s in shapes)} for one and two images; it "
            "cannot be sent, because its first size, and no other, must be the batch. Choose another cut"
        )
    batch = -1 if len(shapes) > 1 else shapes[0][0]
    return TensorSpec(spec.name, (batch, *shapes[0][1:]), str(values[0].dtype))
