"""ONNX's Resize and Upsample, said so that X2Paddle takes them and Paddle's kernels compute what the standard says.

X2Paddle leaves out how pixels are placed and rounded. What is here in its words was found by trying: nearest by whole
factors, and linear between the centres or the corners of pixels. Every other nearest is picked by its indices and every
other linear one is a product with a matrix for each axis; both are exact.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
from onnx import helper

from ppsplit.errors import OnnxError
from ppsplit.importers.lowering import Lowering, Step, chain, value_of

# Where an output pixel lies in the input: (index, input size, output size, scale) -> coordinates.
Placing = Callable[[np.ndarray, int, int, float], np.ndarray]
PLACINGS: Dict[str, Placing] = {
    "half_pixel": lambda index, size, made, scale: (index + 0.5) / scale - 0.5,
    "pytorch_half_pixel": lambda index, size, made, scale: (index + 0.5) / scale - 0.5 if made > 1 else index * 0.0,
    "asymmetric": lambda index, size, made, scale: index / scale,
    "align_corners": lambda index, size, made, scale: index * (size - 1) / max(made - 1, 1),
}
ROUNDINGS: Dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}
REPEATING = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def resize(model: Lowering, node: Any) -> List[Any]:
    """A Resize of any opset, or an Upsample, as operators that mean the same in all runtimes.

    Raises:
        OnnxError: cubic, or placed in a way that crops; or sizes are not known.
    """
    shape = model.shapes.get(node.input[0], [])
    if not shape or min(shape) < 1:
        raise _refused(node, "a tensor of unknown size")
    made, scales = _target(model, node, shape)
    old = model.opset < 11
    mode = value_of(node, "mode", b"nearest").decode()
    placing = value_of(node, "coordinate_transformation_mode", b"asymmetric" if old else b"half_pixel").decode()
    rounding = value_of(node, "nearest_mode", b"floor" if old else b"round_prefer_floor").decode()
    if placing not in PLACINGS or rounding not in ROUNDINGS or mode not in ("nearest", "linear"):
        raise _refused(node, f"{mode}, {placing}, {rounding}")
    where = [PLACINGS[placing](np.arange(m, dtype=np.float64), n, m, s) for n, m, s in zip(shape, made, scales)]
    if mode == "nearest":
        index = [np.clip(ROUNDINGS[rounding](w), 0, n - 1).astype(np.int64) for w, n in zip(where, shape)]
        if _in_plane(shape, made) and all(_repeats(along, n) for along, n in zip(index, shape)):
            return [_as_resize(model, node, made, REPEATING)]
        return _picked(model, node, shape, index)
    said = {"half_pixel": "pytorch_half_pixel"}.get(placing, placing)
    exact = said == "align_corners" or all(abs(n * s - m) < 1e-6 for n, m, s in zip(shape, made, scales))
    # a resize to given sizes has these as its scales, and places a single pixel differently
    if _in_plane(shape, made) and said != "asymmetric" and exact and min(made[2:]) > 1:
        return [_as_resize(model, node, made, {"mode": "linear", "coordinate_transformation_mode": said})]
    return _multiplied(model, node, shape, where)


def interpolation(where: np.ndarray, size: int) -> np.ndarray:
    """The matrix, float32 [made, size], that takes linear values at coordinates [made] of an axis."""
    inside = np.clip(where, 0, size - 1)
    low = np.floor(inside).astype(np.int64)
    share = inside - low
    matrix = np.zeros((len(where), size))
    rows = np.arange(len(where))
    np.add.at(matrix, (rows, low), 1 - share)
    np.add.at(matrix, (rows, np.minimum(low + 1, size - 1)), share)
    return matrix.astype(np.float32)


def _target(model: Lowering, node: Any, shape: List[int]) -> Tuple[List[int], List[float]]:
    """Output size and scale of each axis."""
    axes = [axis % len(shape) for axis in value_of(node, "axes", range(len(shape)))]
    at = 1 if node.op_type == "Upsample" or model.opset < 11 else 2
    factors = _constant(model, node, at)
    if factors is None:
        factors = np.array(value_of(node, "scales", []), np.float32)
    sizes = _constant(model, node, 3)
    made, scales = list(shape), [1.0] * len(shape)
    for position, axis in enumerate(axes):
        if sizes is not None and len(sizes) == len(axes):
            made[axis] = int(sizes[position])
            scales[axis] = made[axis] / shape[axis]
        elif len(factors) == len(axes):
            scales[axis] = float(factors[position])
            made[axis] = int(np.floor(shape[axis] * scales[axis]))
        else:
            raise _refused(node, "by neither scales nor sizes of all axes")
    if min(made) < 1:
        raise _refused(node, f"{shape} to {made}")
    return made, scales


def _constant(model: Lowering, node: Any, place: int) -> Optional[np.ndarray]:
    if place >= len(node.input) or not node.input[place]:
        return None
    return model.constant(node.input[place], node).ravel()


def _in_plane(shape: Sequence[int], made: Sequence[int]) -> bool:
    return len(shape) == 4 and list(shape[:2]) == list(made[:2])


def _repeats(index: np.ndarray, size: int) -> bool:
    """Whether each pixel is repeated equally often, which Paddle's nearest does alike in all runtimes."""
    made = len(index)
    return made % size == 0 and bool((index == np.arange(made) * size // made).all())


def _as_resize(model: Lowering, node: Any, made: Sequence[int], attributes: Dict[str, Any]) -> Any:
    nothing = [model.new_constant(np.zeros(0, np.float32)) for _ in range(2)]  # X2Paddle counts inputs that have names
    inputs = [node.input[0], *nothing, model.new_constant(np.array(made, np.int64))]
    return helper.make_node("Resize", inputs, list(node.output), node.name, **attributes)


def _picked(model: Lowering, node: Any, shape: Sequence[int], index: Sequence[np.ndarray]) -> List[Any]:
    steps: List[Step] = []
    for axis, (along, size) in enumerate(zip(index, shape)):
        if len(along) != size or (along != np.arange(size)).any():
            steps.append(("Gather", [len(steps) - 1, model.new_constant(along)], {"axis": axis}))
    return _from_input(model, node, steps)


def _multiplied(model: Lowering, node: Any, shape: Sequence[int], where: Sequence[np.ndarray]) -> List[Any]:
    """Always from the right: Paddle Inference drops the batch behind a matrix on the left, or Paddle Lite ends."""
    rank = len(shape)
    still = [len(along) == size and np.allclose(along, np.arange(size)) for along, size in zip(where, shape)]
    if rank < 2 or not all(still[:-2]):
        raise _refused(node, "linear along the batch or the channels")
    turned = {"perm": [*range(rank - 2), rank - 1, rank - 2]}
    steps: List[Step] = []
    if not still[-1]:
        steps.append(("MatMul", [-1, _columns(model, where[-1], shape[-1])], {}))
    if not still[-2]:
        steps.append(("Transpose", [len(steps) - 1], turned))
        steps.append(("MatMul", [len(steps) - 1, _columns(model, where[-2], shape[-2])], {}))
        steps.append(("Transpose", [len(steps) - 1], turned))
    return _from_input(model, node, steps)


def _columns(model: Lowering, where: np.ndarray, size: int) -> str:
    return model.new_constant(np.ascontiguousarray(interpolation(where, size).T))


def _from_input(model: Lowering, node: Any, steps: List[Step]) -> List[Any]:
    """A chain whose first step reads the node's input; nothing but that where there is no step."""
    if not steps:
        return [helper.make_node("Identity", [node.input[0]], list(node.output), node.name)]
    steps[0][1][0] = node.input[0]
    return chain(model, node, steps)


def _refused(node: Any, what: str) -> OnnxError:
    return OnnxError(
        f"operator {node.op_type!r} ({node.name or node.output[0]!r}) resizes {what}, which cannot be taken; "
        "export the model with fixed sizes, and nearest or linear"
    )
