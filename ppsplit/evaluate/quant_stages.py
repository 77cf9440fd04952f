"""Structural names for the tensors of a bundle's programs, which hold only such names as `leaky_relu_3.tmp_0`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Dict

from ppsplit.bundle import FULL, Bundle
from ppsplit.export.freeze import trace
from ppsplit.export.program import FrozenProgram
from ppsplit.models import MODELS, build_model
from ppsplit.models.fold import fold_batch_norm

WIDTH = 0.125  # names do not depend on it


def stages_of(bundle: Bundle) -> Dict[str, str]:
    """Stage ("conv4") to the tensor it returns, outermost first; {} for a network that is not one of this project's.

    The network is built again, without its weights, and its operators are put beside the bundle's one by one.
    """
    manifest = bundle.manifest
    if manifest.model not in MODELS:
        return {}
    network = fold_batch_norm(build_model(manifest.model, max(1, len(manifest.class_names)), WIDTH))
    with tempfile.TemporaryDirectory() as scratch:
        program, stages = trace(network, manifest.preprocess.input_hw, Path(scratch))
    full = bundle.path(bundle.program(bundle.cut(), FULL, "paddle").files["model"]).with_suffix("")
    here, there = (each.graph().operators for each in (FrozenProgram.load(full), program))
    if [operator.kind for operator in here] != [operator.kind for operator in there]:
        return {}
    names = {t: h for ours, theirs in zip(here, there) for h, t in zip(ours.outputs, theirs.outputs)}
    return {stage: names[tensor] for stage, tensor in stages.items() if tensor in names}
