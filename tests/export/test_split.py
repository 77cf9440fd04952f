"""Bundles of the small network: what is in them, and that nothing uncertified is ever put in place."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Tuple

import cv2
import numpy as np
import pytest

from ppsplit.bundle import HEAD, TAIL, Bundle
from ppsplit.cli.inspect import program_rows
from ppsplit.errors import BundleError, CertificationError, ConfigError, CutError, InferenceRuntimeError, ProgramError
from ppsplit.export import split
from ppsplit.export.certify import certify, compare, run_split, run_whole
from ppsplit.export.freeze import FrozenModel
from ppsplit.export.program import FrozenProgram, static_mode
from ppsplit.export.split import SplitPlan, export_bundle
from ppsplit.image import read_image, to_input
from ppsplit.paddle_first import paddle
from ppsplit.runtime import load_program
from ppsplit.runtime.choice import load_part
from tests.export.conftest import conv, freeze_network

OPENVINO = {("openvino", precision, "openvino") for precision in ("fp32", "int8", "int16")}


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Tuple[Path, ...]:
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"{i}.png" for i in range(2)]
    for seed, path in enumerate(paths):
        cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8))
    return tuple(paths)


def plan(photos: Tuple[Path, ...], *cuts: str, quant: Tuple[str, ...] = (), with_tail: bool = False) -> SplitPlan:
    return SplitPlan(cuts, quant, ("x86", "arm"), with_tail, photos, photos)


def plan_without_lite(photos: Tuple[Path, ...], *cuts: str) -> SplitPlan:
    return SplitPlan(cuts, (), (), False, photos, photos)


@pytest.fixture(scope="session")
def bundle(skip_model: FrozenModel, photos: Tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    wanted = plan(photos, "stem", "deep", "output", "input", quant=("int8", "int16"), with_tail=True)
    return export_bundle(skip_model, wanted, tmp_path_factory.mktemp("bundles") / "skip", lambda step: None)


def test_every_file_is_listed_and_whole(bundle: Bundle) -> None:
    on_disk = {p.relative_to(bundle.root).as_posix() for p in bundle.root.rglob("*") if p.is_file()}
    assert on_disk == {*bundle.manifest.files, "manifest.json"}
    for name in bundle.manifest.files:
        bundle.path(name)


def test_all_heads_and_tails_are_there(bundle: Bundle) -> None:
    cut = bundle.cut("deep")
    made = {(p.part, p.runtime, p.target, p.precision) for p in cut.programs}
    lite = {(HEAD, "lite", target, bits) for target in ("x86", "arm") for bits in ("fp32", "int8", "int16")}
    paddle = {(HEAD, "paddle", "any", bits) for bits in ("fp32", "int8", "int16")}
    tails = {(TAIL, "paddle", "any", "fp32"), (TAIL, "lite", "x86", "fp32"), (TAIL, "lite", "arm", "fp32")}
    assert made == lite | paddle | tails
    assert bundle.manifest.precision == "int8"
    for precision in ("int8", "int16"):
        for kind in ("quantized_model", "test_model"):
            assert any(f"/{precision}/{kind}/model.pdmodel" in name for name in bundle.manifest.files)


def test_certificates_hold_when_measured_again(bundle: Bundle, photos: Tuple[Path, ...]) -> None:
    image = to_input(read_image(photos[0]), bundle.manifest.preprocess)[0]
    full = load_program(bundle, bundle.manifest.full[0])
    for cut in bundle.manifest.cuts:
        tail = load_part(bundle, cut, TAIL, "paddle")
        for certificate in cut.certificates:
            if certificate.runtime == "passthrough":
                continue
            head = load_part(bundle, cut, HEAD, certificate.runtime, certificate.precision, certificate.target)
            error = compare(run_split(bundle, cut, head, tail, image), run_whole(bundle, full, image), cut.name)
            assert error[1] <= certificate.max_relative_error * 1.01 + 1e-7
            assert certificate.tolerance is None or error[1] <= certificate.tolerance


def test_the_ends_have_a_half_with_nothing_to_do(bundle: Bundle) -> None:
    assert bundle.program(bundle.cut("output"), TAIL, "paddle").runtime == "passthrough"
    assert bundle.program(bundle.cut("input"), HEAD, "lite").runtime == "passthrough"


def test_clips_cover_each_tensor_that_crosses(bundle: Bundle) -> None:
    for cut in bundle.manifest.cuts:
        for bits in ("8", "4"):
            assert set(cut.clips[bits]) == {spec.name for spec in cut.tensors}
            assert all(clip.low < clip.high for clip in cut.clips[bits].values())


def test_a_certificate_is_refused_for_nan_for_shape_and_for_error() -> None:
    good = {"y": np.ones((1, 2), np.float32)}
    assert compare(good, good, "here") == (0.0, 0.0)
    assert compare({"y": np.float32([[1.5, 1]])}, {"y": np.float32([[2, 1]])}, "here") == (0.5, 0.25)
    for bad in (np.full((1, 2), np.nan, np.float32), np.full((1, 2), np.inf, np.float32)):
        with pytest.raises(CertificationError, match="not finite"):
            compare({"y": bad}, good, "here")
        with pytest.raises(CertificationError, match="not finite"):
            compare(good, {"y": bad}, "here")
    with pytest.raises(CertificationError, match="shape"):
        compare({"y": np.ones((1, 3), np.float32)}, good, "here")


@pytest.mark.parametrize("shift", [1e6, 1e-3], ids=["far off", "ten times the tolerance"])
def test_a_bundle_that_is_off_replaces_nothing(
    skip_model: FrozenModel, photos: Tuple[Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: float
) -> None:
    first = export_bundle(skip_model, plan(photos, "stem"), tmp_path / "b", lambda step: None)
    written = split._write_part

    def off_by_a_tail(frozen: FrozenModel, operators: tuple, feeds: list, fetches: list, prefix: Path) -> None:
        written(frozen, operators, feeds, fetches, prefix)
        if prefix.name == "tail":
            params = prefix.with_name("tail.pdiparams")
            values = bytearray(params.read_bytes())
            last = np.frombuffer(bytes(values[-4:]), np.float32)[0]  # the last element of the last parameter
            values[-4:] = np.float32(last + shift).tobytes()
            params.write_bytes(bytes(values))

    monkeypatch.setattr(split, "_write_part", off_by_a_tail)
    with pytest.raises(CertificationError, match="differ from the whole"):
        export_bundle(skip_model, plan(photos, "deep"), tmp_path / "b", lambda step: None)
    assert Bundle.open(tmp_path / "b").manifest.fingerprint == first.manifest.fingerprint
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_folder_that_is_no_bundle_is_left_alone(
    skip_model: FrozenModel, photos: Tuple[Path, ...], tmp_path: Path
) -> None:
    (tmp_path / "holiday.txt").write_text("precious")
    with pytest.raises(ConfigError, match="not a bundle"):
        export_bundle(skip_model, plan(photos, "stem"), tmp_path, lambda step: None)
    assert (tmp_path / "holiday.txt").read_text() == "precious"


def test_an_unknown_cut_writes_nothing(skip_model: FrozenModel, photos: Tuple[Path, ...], tmp_path: Path) -> None:
    with pytest.raises(CutError, match="did you mean stem"):
        export_bundle(skip_model, plan(photos, "sten"), tmp_path / "b", lambda step: None)
    assert not list(tmp_path.iterdir())


def test_a_frozen_model_survives_the_disk(skip_model: FrozenModel, tmp_path: Path) -> None:
    skip_model.save(tmp_path / "frozen")
    loaded = FrozenModel.load(tmp_path / "frozen")
    assert dataclasses.replace(loaded, program=skip_model.program) == skip_model
    assert loaded.program.graph() == FrozenModel.load(tmp_path / "frozen").program.graph()
    assert loaded.program.graph().outputs == skip_model.program.graph().outputs


def test_a_program_from_elsewhere_can_be_cut(skip_model: FrozenModel, photos: Tuple[Path, ...], tmp_path: Path) -> None:
    skip_model.save(tmp_path / "frozen")
    (tmp_path / "frozen" / "frozen.json").unlink()
    foreign = FrozenModel.load(tmp_path / "frozen" / "model.pdmodel")
    tensor = next(op.outputs[0] for op in foreign.program.graph().operators if op.kind == "pool2d")
    made = export_bundle(foreign, plan(photos, tensor), tmp_path / "b", lambda step: None)
    assert made.manifest.decode.family == "raw"
    assert made.manifest.preprocess.input_hw == (32, 48)


def test_an_altered_manifest_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    values = json.loads((bundle.root / "manifest.json").read_text())
    values["cuts"][0]["edge_macs_share"] = 0.9
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(BundleError, match="altered"):
        Bundle.open(tmp_path)


def test_a_lite_tail_is_certified_too(bundle: Bundle) -> None:
    made = {(c.runtime, c.precision, c.tail_runtime) for c in bundle.cut("deep").certificates}
    heads = [(runtime, precision) for runtime in ("paddle", "lite") for precision in ("fp32", "int8", "int16")]
    assert made - OPENVINO == {(*head, tail) for head in heads for tail in ("paddle", "lite")}


def test_openvino_is_certified_where_it_is_installed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    cut, image = bundle.cut("deep"), np.full((1, 3, 32, 48), 0.5, np.float32)
    assert {(c.runtime, c.precision, c.tail_runtime) for c in cut.certificates} >= OPENVINO
    shown = [row["certified"] for row in program_rows(bundle) if row["cut"] == "deep" and row["runtime"] == "paddle"]
    assert shown == ["paddle, openvino"] * 4  # three heads and a tail

    def refuses(self: object, *_: object) -> None:
        raise InferenceRuntimeError("no creator found for pad")

    monkeypatch.setattr("ppsplit.runtime.openvino.OpenVinoRuntime.__init__", refuses)
    assert {c.runtime for c in certify(bundle, cut, [image])} == {"paddle", "lite"}  # it is no reason to give up


def test_clips_come_from_the_whole_image(skip_model: FrozenModel, tmp_path: Path) -> None:
    """One bright corner at the end of the picture, where a sampler that looks only at the beginning sees nothing."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[-4:, -4:] = 255
    cv2.imwrite(str(tmp_path / "corner.png"), pixels)
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros_like(pixels))
    clips = []
    for name in ("corner", "black"):
        photo = (tmp_path / f"{name}.png",)
        made = export_bundle(skip_model, plan(photo, "input"), tmp_path / name, lambda step: None)
        clips.append(made.cut().clips["8"]["image"])
    assert clips[0].high == pytest.approx(1.0, abs=0.01) and clips[1].high == pytest.approx(0.0)


class Sized(paddle.nn.Layer):  # type: ignore[misc]
    """Resizes to a size that it reads off its input, and flattens into the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = conv(3, 4), conv(4, 4)

    def forward(self, image: Any) -> Any:
        half = paddle.shape(image)[2:] // 2
        small = paddle.nn.functional.interpolate(self.stem(image), size=half, mode="nearest")
        rows = paddle.reshape(self.last(small), [-1, 6])
        return paddle.reshape(paddle.nn.functional.relu(rows), [-1, 4, 16, 24])


def test_declared_shapes_do_not_count_but_measured_ones(photos: Tuple[Path, ...], tmp_path: Path) -> None:
    model = freeze_network(Sized(), tmp_path / "traced")
    made = export_bundle(model, plan_without_lite(photos, "last"), tmp_path / "b", lambda step: None)
    assert [spec.shape for spec in made.cut().tensors] == [(-1, 4, 16, 24)]
    assert [spec.shape for spec in made.manifest.outputs] == [(-1, 4, 16, 24)]
    rows = next(op.outputs[0] for op in model.program.graph().operators if op.kind == "relu")
    with pytest.raises(CutError, match=r"\[256, 6\] and \[512, 6\] for one and two images"):
        export_bundle(model, plan_without_lite(photos, rows), tmp_path / "b", lambda step: None)


def test_a_cut_that_sends_sizes_is_refused(photos: Tuple[Path, ...], tmp_path: Path) -> None:
    model = freeze_network(Sized(), tmp_path / "traced")
    sizes = next(op.outputs[0] for op in model.program.graph().operators if op.kind == "shape")
    with pytest.raises(CutError, match="holds sizes and not features"):
        export_bundle(model, plan_without_lite(photos, f"{sizes}+stem"), tmp_path / "b", lambda step: None)


class Dropping(paddle.nn.Layer):  # type: ignore[misc]
    """A dropout that inference removes, and its output's name with it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.drop, self.last = conv(3, 4), paddle.nn.Dropout(0.5), conv(4, 4)

    def forward(self, image: Any) -> Any:
        return self.last(self.drop(self.stem(image)))


def test_a_tensor_that_optimisation_renames_can_be_cut(photos: Tuple[Path, ...], tmp_path: Path) -> None:
    model = freeze_network(Dropping(), tmp_path / "traced")
    made = export_bundle(model, plan_without_lite(photos, "drop"), tmp_path / "b", lambda step: None)
    assert made.cut().certificates[0].max_relative_error <= 1e-4


def test_control_flow_is_named(tmp_path: Path) -> None:
    program = paddle.static.Program()
    with static_mode(), paddle.static.program_guard(program):
        image = paddle.static.data("image", [-1, 3, 4, 4], "float32")
        chosen = paddle.static.nn.cond(image.sum() > 0, lambda: image * 2.0, lambda: image - 1.0)
        frozen = FrozenProgram(program, paddle.static.Scope(), ["image"], [chosen.name])
    with pytest.raises(ProgramError, match="control flow"):
        frozen.graph()
