"""Tensors against what the manifest says of them: name, shape and type.

Paddle Lite computes on, with wrong numbers and no error, when it is fed another type or another number of channels.
"""

from __future__ import annotations

from typing import Dict, Mapping, Sequence

import numpy as np

from ppsplit.bundle import Bundle, TensorSpec
from ppsplit.errors import InferenceRuntimeError

Specs = Mapping[str, TensorSpec]


def specs_of(bundle: Bundle) -> Dict[str, TensorSpec]:
    """Every tensor that enters or leaves one of the bundle's programs, by its name."""
    manifest = bundle.manifest
    crossing = [spec for cut in manifest.cuts for spec in cut.tensors]
    return {spec.name: spec for spec in [manifest.input, *manifest.outputs, *crossing]}


def check_names(what: str, names: Sequence[str], specs: Specs) -> None:
    """Raise InferenceRuntimeError where the manifest knows one of a program's tensors by no name."""
    unknown = [name for name in names if name not in specs]
    if unknown:
        raise InferenceRuntimeError(
            f"{what} has {unknown}, the manifest knows {sorted(specs)}; the file is of another bundle: export it again"
        )


def check_tensors(what: str, tensors: Mapping[str, np.ndarray], specs: Specs) -> None:
    """Raise InferenceRuntimeError where a tensor has not the shape and type that its spec says; -1 is any size."""
    for name, tensor in tensors.items():
        spec = specs.get(name)
        if spec is None:
            continue
        fits = len(spec.shape) == tensor.ndim and all(s in (-1, n) for s, n in zip(spec.shape, tensor.shape))
        if not fits or str(tensor.dtype) != spec.dtype:
            raise InferenceRuntimeError(
                f"{what} {name!r} is {tensor.dtype} {list(tensor.shape)}, the manifest says {spec.dtype} "
                f"{list(spec.shape)} (-1 is any); give it what the bundle was exported with"
            )
