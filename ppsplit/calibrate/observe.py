"""What is seen at the cut on photos: feature maps, and how much the task minds each direction."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict, List, Sequence, Tuple

import numpy as np

from ppsplit.bundle import HEAD, TAIL, Bundle, Cut, TensorSpec
from ppsplit.calibrate.cotangents import sampled_cotangents
from ppsplit.calibrate.gradients import TailGradients
from ppsplit.errors import CalibrationError
from ppsplit.export.program import MODEL_SUFFIX
from ppsplit.runtime import load_program, run_part

KEPT_BYTES = 1 << 30  # of feature maps in memory
SEED = 20_260
Progress = Callable[[str, int, int], None]
Maps = Dict[str, List[np.ndarray]]


def coded_tensors(cut: Cut) -> List[TensorSpec]:
    """The tensors of a cut that the learned codec transforms: maps of floats. The others go lossless."""
    return [spec for spec in cut.tensors if spec.dtype == "float32" and len(spec.shape) == 4]


def observe_cut(
    bundle: Bundle, cut: Cut, inputs: Sequence[np.ndarray], progress: Progress
) -> Tuple[Maps, Dict[str, np.ndarray]]:
    """Feature maps of each tensor, float32 [C, H, W] a photo, and M = E[g g'] over photos and positions, [C, C].

    Args:
        inputs: of the network, float32 [1, 3, H, W] each.
        progress: called with what comes, its number and how many there are.

    Raises:
        CalibrationError: nothing of the cut can be coded, or the cloud half has no gradient.
        BundleError, InferenceRuntimeError: a half is missing or failed.
    """
    specs = coded_tensors(cut)
    tail_program = bundle.program(cut, TAIL, "paddle")
    if not specs or tail_program.runtime == "passthrough":
        raise CalibrationError(f"at cut {cut.name!r} there is nothing to learn; choose one before the outputs")
    head, tail = load_program(bundle, bundle.program(cut, HEAD, "paddle", "fp32")), load_program(bundle, tail_program)
    model = bundle.path(tail_program.files["model"])
    gradients = TailGradients(Path(str(model)[: -len(MODEL_SUFFIX)]), [spec.name for spec in specs])
    maps: Maps = {spec.name: [] for spec in specs}
    importance = {spec.name: np.zeros((spec.shape[1], spec.shape[1])) for spec in specs}
    room = max(1, KEPT_BYTES // max(1, sum(spec.bytes_per_image() for spec in specs)))
    stride = -(-len(inputs) // room)
    rng = np.random.default_rng(SEED)
    outputs_wanted = [spec.name for spec in bundle.manifest.outputs]
    for number, values in enumerate(inputs, 1):
        progress("gradients", number, len(inputs))
        features = run_part(head, {bundle.manifest.input.name: values}, [spec.name for spec in cut.tensors])
        outputs = run_part(tail, features, outputs_wanted)
        cotangents = sampled_cotangents(outputs, bundle.manifest.decode, rng)
        found = gradients(features, cotangents)
        for name, matrix in importance.items():
            gradient = found[name].astype(np.float64) + cotangents.get(name, 0.0)  # an output may cross, too
            flat = gradient.reshape(len(matrix), -1)
            matrix += flat @ flat.T / (flat.shape[1] * len(inputs))
            if (number - 1) % stride == 0:
                maps[name].append(features[name][0].copy())
    return maps, importance
