"""ONNX files that cannot be imported, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the extra ppsplit[onnx] is not installed")
pytest.importorskip("x2paddle", reason="the extra ppsplit[onnx] is not installed")

from onnx import TensorProto, helper  # noqa: E402

from ppsplit.bundle import TensorSpec  # noqa: E402
from ppsplit.cli import main  # noqa: E402
from ppsplit.errors import OnnxError  # noqa: E402
from ppsplit.importers.convert import convert, unknown_operators  # noqa: E402
from ppsplit.importers.decoding import decode_spec_of  # noqa: E402
from ppsplit.importers.onnx_file import read_onnx  # noqa: E402
from ppsplit.importers.prepare import prepare  # noqa: E402
from tests.importers.tiny_onnx import Maker, channels_last, classifier, residual, written  # noqa: E402


def one(kind: str, domain: str = "", **attributes: Any) -> Any:
    m = Maker()
    m.op(kind, "image", out="out", **attributes)
    m.nodes[-1].domain = domain
    return m.model(["out"])


def with_opset(version: int) -> Any:
    model = classifier()
    model.opset_import[0].version = version
    return model


def two_inputs() -> Any:
    m = Maker()
    m.op("Mul", "image", "scale_factor", out="out")
    return m.model(["out"], more_inputs=[("scale_factor", TensorProto.FLOAT, [1, 1, 1, 1])])


def steps_of_zero() -> Any:
    model = one("MaxPool", kernel_shape=[2, 2])
    model.graph.node[0].attribute.append(helper.make_attribute("strides", [0, 0]))
    return model


REFUSED = {
    "two inputs": (two_inputs, r"2 inputs \(image \[1, 3, 32, 48\], scale_factor"),
    "bytes": (lambda: Maker().model([], kind=TensorProto.UINT8), "has no operators"),
    "another domain": (lambda: one("Magic", "com.example"), "operator 'Magic' .* of the domain 'com.example'"),
    "too new": (lambda: with_opset(99), "opset 99, 7 to"),
    "too old": (lambda: with_opset(6), "opset 6, 7 to"),
    "open sizes": (lambda: residual(shape=("n", 3, "h", "w")), "say --input 1x3x416x416"),
    "open sizes, channels last": (lambda: channels_last(("n", "h", "w", 3)), "say --input 1x416x416x3"),
    "steps of zero": (steps_of_zero, r"strides=\[0, 0\], from 1 on"),
    "four at once": (lambda: residual(shape=(4, 3, 32, 48)), "4 pictures at once"),
    "one channel": (lambda: residual(shape=(1, 1, 32, 48)), "one picture"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_are_refused(case: str, tmp_path: Path) -> None:
    make, message = REFUSED[case]
    make_model: Callable[[], Any] = make
    path = tmp_path / "refused.onnx"
    path.write_bytes(make_model().SerializeToString())
    with pytest.raises(OnnxError, match=message):
        read_onnx(path)


def test_a_picture_in_bytes(tmp_path: Path) -> None:
    m = Maker()
    m.op("Cast", "image", out="out", to=TensorProto.FLOAT)
    with pytest.raises(OnnxError, match="'image' is uint8"):
        read_onnx(written(m.model(["out"], kind=TensorProto.UINT8), tmp_path))


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"hello", bytes(range(256))])
def test_what_is_no_onnx_file(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(data)
    with pytest.raises(OnnxError, match="no ONNX file"):
        read_onnx(tmp_path / "a.onnx")


def test_a_truncated_file(tmp_path: Path) -> None:
    data = classifier().SerializeToString()
    for length in range(0, len(data), 97):
        (tmp_path / "a.onnx").write_bytes(data[:length])
        with pytest.raises(OnnxError, match="incomplete|damaged"):
            read_onnx(tmp_path / "a.onnx")


def test_no_weights(tmp_path: Path) -> None:
    with pytest.raises(OnnxError, match="has no weights"):
        convert(read_onnx(written(one("Relu"), tmp_path)))


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(OnnxError, match="is a folder"):
        read_onnx(tmp_path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(OnnxError, match="does not exist"):
        read_onnx(tmp_path / "gone.onnx")


def test_external_data_that_is_gone(tmp_path: Path) -> None:
    onnx.save(
        *(classifier(), str(tmp_path / "a.onnx")), save_as_external_data=True, location="a.data", size_threshold=0
    )
    assert read_onnx(tmp_path / "a.onnx").input_shape == (1, 3, 32, 48)
    (tmp_path / "a.data").unlink()
    with pytest.raises(OnnxError, match="does not lie beside it"):
        read_onnx(tmp_path / "a.onnx")


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (1, 3, 32), (2, 3, 32, 48), (1, 1, 32, 48)])
def test_sizes_that_are_not_open(shape: Any, tmp_path: Path) -> None:
    with pytest.raises(OnnxError, match=r"does not fit the input 'image' \[1, 3, 32, 48\]"):
        read_onnx(written(classifier(), tmp_path), shape)


def test_a_size_that_the_graph_does_not_fit(tmp_path: Path) -> None:
    model = read_onnx(written(residual(shape=("n", 3, "h", "w")), tmp_path), (1, 3, 34, 34))
    with pytest.raises(OnnxError, match="with an input of 1x3x34x34"):
        prepare(model)


def test_an_operator_that_x2paddle_does_not_know_is_named(tmp_path: Path) -> None:
    with pytest.raises(OnnxError, match="does not know the operator 'Celu'"):
        convert(read_onnx(written(one("Celu"), tmp_path)))


def test_control_flow_is_named(tmp_path: Path) -> None:
    m = Maker()
    body = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["inner"])],
        "body",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    condition = m.weight(np.array(True))
    m.op("If", condition, out="out", then_branch=body, else_branch=body)
    with pytest.raises(OnnxError, match="'If' .* is control flow"):
        read_onnx(written(m.model(["out"]), tmp_path))


def test_a_text_that_is_no_word(tmp_path: Path) -> None:
    model = classifier()
    model.graph.node[0].attribute.append(helper.make_attribute("auto_pad", "VALID', evil()"))
    path = tmp_path / "a.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(OnnxError):
        prepare(read_onnx(path))


def test_unknown_operators_from_what_x2paddle_prints() -> None:
    assert unknown_operators("\n========= 2 OPs are not supported yet ===========\n=== B ===\n=== A ===\n") == [
        "A",
        "B",
    ]
    assert unknown_operators("=== nothing ===") == []


@pytest.mark.parametrize(
    ("family", "shapes"),
    [
        ("classify", [(1, 3, 4)]),
        ("yolox", [(1, 8), (1, 8)]),
        ("yolov8", [(1, 8, 4, 4)]),
        ("picodet", [(1, 4, 2), (1, 4, 32), (1, 1, 2)]),
    ],
)
def test_outputs_of_another_family(family: str, shapes: Any) -> None:
    with pytest.raises(OnnxError, match=f"--decode {family} takes"):
        decode_spec_of(family, [TensorSpec("x", shape, "float32") for shape in shapes], False, True)


def test_masks_of_yolov8_are_told_by_their_prototypes() -> None:
    outputs = [TensorSpec("x", (1, 116, 8400), "float32"), TensorSpec("y", (1, 32, 160, 160), "float32")]
    params = decode_spec_of("yolov8", outputs, False, True).params
    assert (params["num_classes"], params["mask_channels"], params["layout"]) == (80, 32, "exported")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--input", "416"], "--input '416' is no size"),
        (["--certify-count", "0"], "at least one image"),
        (["--decode", "ssd"], "ssd"),
        (["--class-names", "gone.txt"], "cannot read --class-names gone.txt"),
    ],
)
def test_the_verb_says_what_is_wrong(options: Any, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "gone.onnx", *options]) == 1
    assert message in capsys.readouterr().err
