"""Small ONNX models, made as they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUT_HW = (32, 48)


class Maker:
    """Builds a graph operator by operator; every method returns the name of what it made."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: List[Any] = []
        self.weights: List[Any] = []
        self._random = np.random.default_rng(seed)

    def weight(self, values: np.ndarray, name: str = "") -> str:
        name = name or f"weight{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def random(self, *shape: int, scale: float = 0.3) -> str:
        return self.weight((self._random.standard_normal(shape) * scale).astype(np.float32))

    def op(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        out = out or f"/{kind.lower()}.{len(self.nodes)}/out put"  # names as exporters make them, and worse
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=f"node{len(self.nodes)}", **attributes))
        return out

    def conv(self, x: str, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, out: str = "") -> str:
        weight, bias = self.random(outputs, inputs, kernel, kernel), self.random(outputs)
        pads = [kernel // 2] * 4
        return self.op("Conv", x, weight, bias, out=out, pads=pads, strides=[stride] * 2, kernel_shape=[kernel] * 2)

    def model(
        self,
        outputs: Sequence[str],
        shape: Optional[Sequence[Any]] = None,
        opset: int = 13,
        kind: int = TensorProto.FLOAT,
        output_kind: int = TensorProto.FLOAT,
        more_inputs: Sequence[Tuple[str, int, Sequence[int]]] = (),
    ) -> Any:
        inputs = [helper.make_tensor_value_info("image", kind, list(shape or (1, 3, *INPUT_HW)))]
        inputs += [helper.make_tensor_value_info(*given) for given in more_inputs]
        results = [helper.make_tensor_value_info(name, output_kind, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "tiny", inputs, results, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        if any(node.domain for node in self.nodes):
            return model
        return onnx.shape_inference.infer_shapes(model)  # the checker wants outputs to have shapes


def residual(opset: int = 13, shape: Optional[Sequence[Any]] = None) -> Any:
    """Two convolutions with a hard-swish spelled out, a skip connection, an upsample, and a concat."""
    m = Maker()
    zero, six, three = (m.weight(np.float32(value)) for value in (0, 6, 3))

    def hard_swish(x: str) -> str:
        gate = m.op("Clip", m.op("Add", x, three), zero, six)
        return m.op("Div", m.op("Mul", x, gate), six)

    stem = hard_swish(m.conv("image", 3, 8, stride=2))
    deep = hard_swish(m.conv(m.op("MaxPool", stem, kernel_shape=[2, 2], strides=[2, 2]), 8, 8))
    roi, scales = m.weight(np.zeros(0, np.float32)), m.weight(np.float32([1, 1, 2, 2]))
    up = m.op(
        *("Resize", deep, roi, scales),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    joined = m.op("Concat", m.op("Add", up, stem), up, axis=1)
    m.conv(joined, 16, 6, kernel=1, out="fine:0")
    m.conv(deep, 8, 4, kernel=1, out="coarse:0")
    return m.model(["fine:0", "coarse:0"], shape, opset)


def classifier(softmax: bool = False) -> Any:
    """Convolution, batch norm, pooling, and a linear layer of 10 classes."""
    m = Maker()
    x = m.op("Relu", m.conv("image", 3, 8, stride=2))
    mean = m.random(8)
    variance = m.weight(np.linspace(0.5, 2, 8, dtype=np.float32))
    x = m.op("BatchNormalization", x, m.random(8), m.random(8), mean, variance, epsilon=1e-5)
    x = m.op("Flatten", m.op("GlobalAveragePool", x), axis=1)
    x = m.op("Gemm", x, m.random(10, 8), m.random(10), transB=1, out="logits")
    return m.model([m.op("Softmax", x, out="probabilities") if softmax else x])


def everyday() -> Any:
    """What many exporters write and X2Paddle takes for something else."""
    m = Maker()
    x = m.conv("image", 3, 8, stride=2)
    pads = m.weight(np.int64([0, 0, 1, 2, 0, 0, 3, 0]))
    x = m.op("Pad", x, pads, m.weight(np.float32(0.5)), mode="constant")
    x = m.op("MaxPool", m.conv(x, 8, 8), kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])
    linear = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    x = m.op("Resize", x, "", m.weight(np.float32([1, 1, 2, 2])), **linear)
    x = m.op("Resize", x, "", "", m.weight(np.int64([1, 8, 13, 11])), mode="linear")
    x = m.op("Resize", x, "", m.weight(np.float32([1, 1, 1.5, 2])), mode="nearest")
    old = {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}
    x = m.op("Resize", x, "", m.weight(np.float32([1, 1, 2, 1.5])), **old)
    x = m.op("Squeeze", m.op("ReduceSum", x, m.weight(np.int64([2, 3]))), m.weight(np.int64([2, 3])))
    m.op("Squeeze", m.op("Unsqueeze", x, m.weight(np.int64([0, 3]))), m.weight(np.int64([0, 3])), out="out")
    return m.model(["out"])


def channels_last(shape: Sequence[Any] = (1, *INPUT_HW, 3)) -> Any:
    """As TensorFlow's exporter writes it."""
    m = Maker()
    m.op("Transpose", m.conv(m.op("Transpose", "image", perm=[0, 3, 1, 2]), 3, 4), perm=[0, 2, 3, 1], out="out")
    return m.model(["out"], shape)


def attention(opset: int = 17) -> Any:
    """Queries, keys and values right behind a convolution; layer norm and GELU as the opset has them."""
    m = Maker()
    tokens = INPUT_HW[0] // 8 * (INPUT_HW[1] // 8)
    x = m.conv(m.conv("image", 3, 8, stride=4), 8, 24, stride=2)
    x = m.op("Reshape", x, m.weight(np.int64([1, 3, 8, tokens])))
    q, k, v = (f"{name}" for name in ("query", "key", "value"))
    m.nodes.append(helper.make_node("Split", [x, m.weight(np.int64([1, 1, 1]))], [q, k, v], name="split", axis=1))
    weights = m.op("Softmax", m.op("MatMul", m.op("Transpose", q, perm=[0, 1, 3, 2]), k), axis=-1)
    mixed = m.op("MatMul", v, m.op("Transpose", weights, perm=[0, 1, 3, 2]))
    rows = m.op("Reshape", m.op("Transpose", mixed, perm=[0, 3, 1, 2]), m.weight(np.int64([1, tokens, 8])))
    normed = m.op("LayerNormalization", rows, m.random(8), m.random(8), axis=-1)
    half = m.op("Mul", normed, m.weight(np.float32(0.5**0.5)))
    gelu = m.op("Mul", normed, m.op("Add", m.op("Erf", half), m.weight(np.float32([1]))))
    m.op("MatMul", gelu, m.random(8, 5), out="answer")
    return m.model(["answer"], opset=opset)


def yolox_like(classes: int = 2) -> Any:
    """Three levels; a row for each cell with box, objectness and classes, as YOLOX exports them."""
    m = Maker()
    x, rows = m.conv("image", 3, 8, stride=2), []
    for level in range(3):
        for _ in range(2 if level == 0 else 1):
            x = m.op("Relu", m.conv(x, 8, 8, stride=2))
        scores = m.op("Sigmoid", m.conv(x, 8, 1 + classes, kernel=1))
        head = m.op("Concat", m.conv(x, 8, 4, kernel=1), scores, axis=1)
        rows.append(m.op("Reshape", head, m.weight(np.int64([1, 5 + classes, -1]))))
    m.op("Transpose", m.op("Concat", *rows, axis=2), perm=[0, 2, 1], out="output")
    return m.model(["output"], opset=11, shape=(1, 3, 64, 64))


def written(model: Any, folder: Path, name: str = "tiny.onnx") -> Path:
    onnx.save(model, str(folder / name))
    return folder / name
