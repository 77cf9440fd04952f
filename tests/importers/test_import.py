"""ONNX files that can be imported: what comes out computes the same where it serves, and can be cut by its names."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Optional, Tuple

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the extra ppsplit[onnx] is not installed")
pytest.importorskip("x2paddle", reason="the extra ppsplit[onnx] is not installed")

from onnx import TensorProto, numpy_helper  # noqa: E402

from ppsplit.bundle import Bundle  # noqa: E402
from ppsplit.data.sample_photos import sample_photos  # noqa: E402
from ppsplit.errors import CertificationError  # noqa: E402
from ppsplit.export.freeze import FrozenModel  # noqa: E402
from ppsplit.export.split import SplitPlan, export_bundle  # noqa: E402
from ppsplit.importers import convert as convert_module  # noqa: E402
from ppsplit.importers.certify import difference  # noqa: E402
from ppsplit.importers.import_model import Imported, ImportPlan, cut_bytes, import_model, narrow_cuts  # noqa: E402
from tests.importers.tiny_onnx import (  # noqa: E402
    attention,
    channels_last,
    classifier,
    everyday,
    residual,
    written,
    yolox_like,
)

PICODET = Path(__file__).resolve().parents[3] / "shared" / "weights" / "picodet_s_416_coco.onnx"


def plan(path: Path, family: str = "raw", shape: Optional[Tuple[int, ...]] = None) -> ImportPlan:
    return ImportPlan(path, shape, family, lambda usual: usual, False, True, (), tuple(sample_photos()[:1]))


def imported(model: Any, folder: Path, family: str = "raw", shape: Optional[Tuple[int, ...]] = None) -> Imported:
    return import_model(plan(written(model, folder), family, shape), lambda step: None)


def assert_certified(made: Imported, lite: bool = True) -> None:
    runtimes = {c.runtime for c in made.certificates if c.max_relative_error is not None} - {"openvino"}
    assert runtimes == ({"paddle", "lite"} if lite else {"paddle"}), [c.remark for c in made.certificates]
    errors = [c.max_relative_error for c in made.certificates if c.max_relative_error is not None]
    assert all(error <= c.tolerance for error, c in zip(errors, made.certificates))


@pytest.fixture(scope="module")
def skip(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    return imported(residual(), tmp_path_factory.mktemp("skip"))


def test_a_residual_net_with_a_spelled_out_hard_swish(skip: Imported) -> None:
    assert_certified(skip)
    assert skip.frozen.program.graph().outputs == ("fine:0", "coarse:0")  # the file's names


def test_limits_of_clip_are_attributes(skip: Imported) -> None:
    clips = [op for op in skip.frozen.program.program.global_block().ops if op.type == "clip"]
    assert [(op.attr("min"), op.attr("max")) for op in clips] == [(0.0, 6.0)] * 2
    assert not any(name in op.input_names and op.input(name) for op in clips for name in ("Min", "Max"))


def test_without_the_mending_the_certificate_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert_module, "mend", lambda program: 0)
    with pytest.raises(CertificationError, match="one of its passes is wrong"):
        imported(residual(), tmp_path)


def test_it_can_be_saved_cut_and_served(skip: Imported, tmp_path: Path) -> None:
    frozen = FrozenModel.load(skip.frozen.save(tmp_path / "frozen"))
    name = narrow_cuts(frozen.program.graph())[0].name
    photos = tuple(sample_photos()[:1])
    bundle = export_bundle(
        frozen, SplitPlan((name, "fine:0"), (), ("x86",), False, photos, photos), tmp_path / "bundle", lambda step: None
    )
    assert Bundle.open(bundle.root).manifest.outputs[0].name == "fine:0"
    assert all(certificate.max_relative_error <= 1e-4 for certificate in bundle.cut(name).certificates)


def test_narrow_cuts_send_one_tensor_and_ever_less(skip: Imported) -> None:
    cuts = narrow_cuts(skip.frozen.program.graph())
    sizes = [cut_bytes(cut) for cut in cuts]
    assert cuts and sizes == sorted(set(sizes), reverse=True)
    assert all(len(cut.tensors) == 1 for cut in cuts)


@pytest.mark.parametrize("softmax", [False, True])
def test_a_classifier(softmax: bool, tmp_path: Path) -> None:
    made = imported(classifier(softmax), tmp_path, "classify")
    assert_certified(made)
    assert made.frozen.decode.params["num_classes"] == 10


def test_attention_behind_a_convolution(tmp_path: Path) -> None:
    assert_certified(imported(attention(), tmp_path))


def test_what_x2paddle_takes_for_something_else(tmp_path: Path) -> None:
    assert_certified(imported(everyday(), tmp_path))


def test_channels_last(tmp_path: Path) -> None:
    made = imported(channels_last(("n", "h", "w", 3)), tmp_path, shape=(1, 32, 48, 3))
    assert_certified(made)
    graph = made.frozen.program.graph()
    assert made.frozen.preprocess.input_hw == (32, 48)
    assert (graph.inputs, graph.tensors["image"].shape[1:]) == (("image",), (3, 32, 48))


def test_an_output_without_a_shape(tmp_path: Path) -> None:
    model = residual()
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    assert_certified(imported(model, tmp_path))


def test_a_head_like_yolox(tmp_path: Path) -> None:
    made = imported(yolox_like(), tmp_path, "yolox")
    assert_certified(made)
    assert (made.frozen.preprocess.channels, made.frozen.preprocess.resize) == ("bgr", "letterbox")


def test_open_sizes_are_given(tmp_path: Path) -> None:
    made = imported(residual(shape=("n", 3, "h", "w")), tmp_path, shape=(1, 3, 64, 32))
    assert made.frozen.preprocess.input_hw == (64, 32)


def test_half_precision_is_widened(tmp_path: Path) -> None:
    model = classifier()
    del model.graph.value_info[:]
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    made = imported(model, tmp_path)
    assert_certified(made)
    assert made.frozen.program.graph().tensors["logits"].dtype == "float32"


def test_integer_outputs(tmp_path: Path) -> None:
    model = classifier()
    model.graph.node.append(onnx.helper.make_node("ArgMax", ["logits"], ["best"], name="best", axis=1, keepdims=1))
    model.graph.output.append(onnx.helper.make_tensor_value_info("best", TensorProto.INT64, [1, 1]))
    assert imported(model, tmp_path).frozen.program.graph().tensors["best"].dtype == "int64"


def test_names_from_the_file_are_never_code(tmp_path: Path) -> None:
    model, trap = classifier(), tmp_path / "trap"
    for node in model.graph.node:
        node.output[:] = [f"open({str(trap)!r},'w')#{i}" if o == "logits" else o for i, o in enumerate(node.output)]
    model.graph.output[0].name = f"open({str(trap)!r},'w')#0"
    made = imported(model, tmp_path)
    assert made.frozen.program.graph().outputs == (model.graph.output[0].name,)
    assert not trap.exists()


def test_a_faint_output_is_measured_by_its_other_samples() -> None:
    actual, expected = {"a": np.float32([2e-8])}, {"a": np.float32([1e-8])}
    assert difference(actual, expected, {"a": 0.9}, "")[1] == pytest.approx(1e-8 / 9e-4, rel=1e-3)
    assert difference(actual, expected, {"a": 1e-8}, "")[1] == pytest.approx(1.0, rel=1e-3)
    with pytest.raises(CertificationError, match="not finite"):
        difference({"a": np.float32([np.nan])}, expected, {"a": 0.9}, "")


@pytest.mark.slow
@pytest.mark.skipif(not PICODET.is_file(), reason=f"no {PICODET}")
def test_picodet_is_exact_where_it_serves() -> None:
    made = import_model(dataclasses.replace(plan(PICODET, "picodet")), lambda step: None)
    assert_certified(made)
    assert len(made.frozen.class_names) == 80
