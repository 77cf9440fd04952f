"""What is seen at the cut on photos: feature maps, and how much the task minds each direction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Sequence

import numpy as np

from ppsplit.bundle import HEAD, TAIL, Bundle, Cut, TensorSpec
from ppsplit.calibrate.cotangents import sampled_cotangents
from ppsplit.calibrate.gradients import TailGradients
from ppsplit.errors import CalibrationError
from ppsplit.export.program import MODEL_SUFFIX
from ppsplit.runtime import load_program, run_part

KEPT_BYTES = 1 << 30  # of feature maps and gradients in memory
SEED = 20_260
Progress = Callable[[str, int, int], None]


@dataclass
class Observed:
    """Of one tensor.

    Attributes:
        maps: float32 [C, H, W] of each photo, or of some where they are many.
        gradients: of the same photos and shapes, of a sampled answer.
        importance: M = E[g g'] over positions of all photos, float64 [C, C].
    """

    maps: List[np.ndarray]
    gradients: List[np.ndarray]
    importance: np.ndarray


def coded_tensors(cut: Cut) -> List[TensorSpec]:
    """The tensors of a cut that the learned codec transforms: maps of floats. The others go lossless."""
    return [spec for spec in cut.tensors if spec.dtype == "float32" and len(spec.shape) == 4]


def observe_cut(bundle: Bundle, cut: Cut, inputs: Sequence[np.ndarray], progress: Progress) -> Dict[str, Observed]:
    """What photos say of each tensor of a cut that can be coded.

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
    observed = {spec.name: Observed([], [], np.zeros((spec.shape[1], spec.shape[1]))) for spec in specs}
    room = max(1, KEPT_BYTES // max(1, 2 * sum(spec.bytes_per_image() for spec in specs)))
    stride = -(-len(inputs) // room)
    rng = np.random.default_rng(SEED)
    outputs_wanted = [spec.name for spec in bundle.manifest.outputs]
    for number, values in enumerate(inputs, 1):
        progress("gradients", number, len(inputs))
        features = run_part(head, {bundle.manifest.input.name: values}, [spec.name for spec in cut.tensors])
        outputs = run_part(tail, features, outputs_wanted)
        cotangents = sampled_cotangents(outputs, bundle.manifest.decode, rng)
        found = gradients(features, cotangents)
        for name, of in observed.items():
            gradient = found[name] + cotangents.get(name, np.float32(0))  # an output may cross, too
            flat = gradient.reshape(len(of.importance), -1).astype(np.float64)
            of.importance += flat @ flat.T / (flat.shape[1] * len(inputs))
            if (number - 1) % stride == 0:
                of.maps.append(features[name][0].copy())
                of.gradients.append(gradient[0])
    return observed
