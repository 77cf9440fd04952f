"""What activations are like on calibration images: the ground that every static quantization stands on.

Images that are missing, empty, of another size or all of one colour are errors here, before anything is computed
from them: a scale of zero, or one from noise, would only be seen in the field.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import numpy as np

from ppsplit.bundle import TensorSpec
from ppsplit.errors import CalibrationError, DataError
from ppsplit.export.graph import Graph
from ppsplit.export.program import MODEL_SUFFIX, PARAMS_SUFFIX, FrozenProgram
from ppsplit.image import Preprocess, list_images, read_image, to_input
from ppsplit.runtime import run_part
from ppsplit.runtime.paddle import PaddleRuntime

# What has weights and is computed in integers; its inputs are the activations that a quantizer is put on.
QUANTIZED_KINDS = ("conv2d", "depthwise_conv2d", "mul", "matmul_v2")
MAX_SAMPLES = 262_144  # of one tensor over all images


@dataclass(frozen=True)
class Observed:
    """One activation over all calibration images.

    Attributes:
        name: the tensor's.
        elements: of one image.
        low, high: the extremes of all values.
        mean_abs, mean_square: of all values, about 0.
        samples: float32 [at most about MAX_SAMPLES], evenly spread over every image.
    """

    name: str
    elements: int
    low: float
    high: float
    mean_abs: float
    mean_square: float
    samples: np.ndarray

    @property
    def one_sided(self) -> bool:
        """Never negative on any image, as behind a ReLU or a sigmoid, and as pixels are."""
        return self.low >= 0

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return max(-self.low, self.high)


def calibration_inputs(folder: Path, count: int, preprocess: Preprocess) -> List[np.ndarray]:
    """The first `count` images of a folder as network inputs, float32 [1, 3, H, W] each.

    Raises:
        CalibrationError: no folder, no image in it, a damaged one, or fewer than one asked for.
    """
    if count < 1:
        raise CalibrationError(f"calibration needs at least one image, not {count}")
    try:
        paths = list_images(folder)[:count]
    except DataError as error:
        raise CalibrationError(f"cannot calibrate: {error}") from error
    return inputs_of(paths, preprocess)


def inputs_of(paths: Sequence[Path], preprocess: Preprocess) -> List[np.ndarray]:
    """Photos as network inputs, float32 [1, 3, H, W] each.

    Raises:
        CalibrationError: no photo, a damaged one, or nothing on any of them: the padding around a picture of one
            colour is a second one, which no look at the inputs would tell from a picture.
    """
    try:
        photos = [read_image(path) for path in paths]
    except DataError as error:
        raise CalibrationError(f"cannot calibrate: {error}") from error
    if all(photo.min() == photo.max() for photo in photos):
        raise CalibrationError(
            f"every one of {len(photos)} calibration photos is of a single value; give photos with something on them"
        )
    return [to_input(photo, preprocess)[0] for photo in photos]


def check_inputs(inputs: Sequence[np.ndarray], spec: TensorSpec) -> None:
    """Raise CalibrationError unless there are inputs, all fit `spec` (-1 is any size), and something is on them."""
    if not inputs:
        raise CalibrationError("there is nothing to calibrate on; give a folder of images with --calibration-images")
    for index, values in enumerate(inputs):
        fits = len(values.shape) == len(spec.shape) and all(w in (-1, s) for s, w in zip(values.shape, spec.shape))
        if not fits or str(values.dtype) != spec.dtype or not values.size:
            raise CalibrationError(
                f"calibration input {index} is {values.dtype} {list(values.shape)}, the network takes {spec.dtype} "
                f"{list(spec.shape)}; make it with the network's own preprocessing"
            )
        if not np.isfinite(values).all():
            raise CalibrationError(f"calibration input {index} has values that are not finite; check mean and std")
    if all(values.min() == values.max() for values in inputs):
        raise CalibrationError(
            f"every one of {len(inputs)} calibration inputs is of a single value; give photos with something on them"
        )


def quantizable_activations(graph: Graph) -> List[str]:
    """The tensors that operators with weights read, in the order of their first use."""
    names = (name for op in graph.operators if op.kind in QUANTIZED_KINDS and op.parameters for name in op.inputs)
    return list(dict.fromkeys(names))


def observe(program: FrozenProgram, names: Sequence[str], inputs: Sequence[np.ndarray]) -> Dict[str, Observed]:
    """Run calibration inputs through a program in Paddle Inference and look at the tensors `names`.

    Args:
        program: takes one image tensor.
        names: float tensors of it, its input among them if wanted; no others are looked at.
        inputs: the program's input, [N, 3, H, W] each.

    Raises:
        CalibrationError: as `check_inputs`; or a tensor is constant, or not finite, on all of them.
    """
    graph = program.graph()
    feed = graph.inputs[0]
    check_inputs(inputs, graph.tensors[feed])
    seen: Dict[str, List[np.ndarray]] = {name: [] for name in names}
    moments: Dict[str, List[Tuple[int, float, float, float, float]]] = {name: [] for name in names}
    computed = [name for name in names if name != feed]
    images = sum(len(values) for values in inputs)
    with tempfile.TemporaryDirectory() as scratch:
        runtime = _runtime(program, graph, computed, Path(scratch) / "observed") if computed else None
        for values in inputs:
            found = dict(run_part(runtime, {feed: values}, computed)) if runtime else {}
            for name in names:
                tensor = values if name == feed else found[name]
                moments[name].append(_moments(name, tensor))
                stride = max(1, tensor.size // len(tensor) * images // MAX_SAMPLES)
                seen[name].append(tensor.ravel()[::stride].astype(np.float32))
    return {name: _observed(name, moments[name], seen[name], images) for name in names}


def _runtime(program: FrozenProgram, graph: Graph, fetches: Sequence[str], prefix: Path) -> PaddleRuntime:
    kept = program.with_constants(_needed(graph, fetches))
    program.save_part(prefix, kept, graph.inputs, fetches)
    runtime = PaddleRuntime(Path(f"{prefix}{MODEL_SUFFIX}"), Path(f"{prefix}{PARAMS_SUFFIX}"))
    runtime.named(fetches)  # optimisation may rename them; their order stays
    return runtime


def _needed(graph: Graph, fetches: Sequence[str]) -> List[int]:
    """Indices of the operators that `fetches` depend on."""
    wanted, kept = set(fetches), []
    for operator in reversed(graph.operators):
        if wanted.intersection(operator.outputs):
            wanted.update(operator.inputs)
            kept.append(operator.index)
    return kept[::-1]


def _moments(name: str, tensor: np.ndarray) -> Tuple[int, float, float, float, float]:
    if not tensor.size or not np.isfinite(tensor).all():
        raise CalibrationError(f"tensor {name!r} is empty or not finite on a calibration image; check the weights")
    exact = tensor.astype(np.float64)
    return tensor.size, float(exact.min()), float(exact.max()), float(np.abs(exact).sum()), float((exact**2).sum())


def _observed(
    name: str, moments: Sequence[Tuple[int, float, float, float, float]], samples: List[np.ndarray], images: int
) -> Observed:
    counts, lows, highs, sums, squares = zip(*moments)
    low, high, count = min(lows), max(highs), sum(counts)
    if low == high:
        raise CalibrationError(
            f"tensor {name!r} is {low:g} everywhere on all {images} calibration images, which gives no scale; "
            "give other images, or check that the weights are trained"
        )
    return Observed(name, count // images, low, high, sum(sums) / count, sum(squares) / count, np.concatenate(samples))
