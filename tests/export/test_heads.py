"""Heads in the new precisions: that they run where and how they say, are as small as they say, and are certified."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np
import pytest

from ppsplit.bundle import HEAD, Bundle
from ppsplit.data.sample_photos import sample_photos
from ppsplit.errors import CalibrationError, CertificationError, InferenceRuntimeError, QuantizationError
from ppsplit.export import certify
from ppsplit.export.calibration import observe, quantizable_activations
from ppsplit.export.freeze import FrozenModel
from ppsplit.export.heads import QuantPlan
from ppsplit.export.requantize import head_rows, quantize_bundle
from ppsplit.export.split import SplitPlan, export_bundle
from ppsplit.runtime import load_program, runs_here
from ppsplit.runtime.paddle import PaddleRuntime

PHOTOS = tuple(sample_photos()[:2])
PRECISIONS = ("ptq-hist", "mixed", "int8")


def plan(**changes: Any) -> SplitPlan:
    made = SplitPlan(("deep",), PRECISIONS, ("x86", "arm"), False, PHOTOS, PHOTOS, bits=(("deep", 3), ("*", 5)))
    return dataclasses.replace(made, **changes)


@pytest.fixture(scope="module")
def bundle(skip_model: FrozenModel, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_bundle(skip_model, plan(), tmp_path_factory.mktemp("heads") / "b", lambda step: None)


def certified(bundle: Bundle) -> Dict[Tuple[str, str], float]:
    made = [c for c in bundle.cut().certificates if c.runtime != "openvino"]
    return {(c.runtime, c.precision): c.max_relative_error for c in made}


def test_every_head_that_runs_here_is_certified(bundle: Bundle) -> None:
    made = {(p.runtime, p.target, p.precision) for p in bundle.cut().programs if p.part == HEAD}
    places = (("paddle", "any"), ("lite", "x86"), ("lite", "arm"))
    assert made == {(*place, precision) for place in places for precision in ("fp32", *PRECISIONS)}
    assert bundle.manifest.precision == "ptq-hist"
    errors = certified(bundle)
    assert len(errors) == sum(runs_here(p) for p in bundle.cut().programs if p.part == HEAD)
    assert 0 < errors["paddle", "ptq-hist"] < 0.05 and 0 < errors["paddle", "mixed"] < 0.7
    # the same weights, packed, in both runtimes; activations are float32 in both
    assert errors["lite", "mixed"] == pytest.approx(errors["paddle", "mixed"], rel=1e-3)


def test_static_int8_runs_in_integer_kernels_and_quietly(bundle: Bundle) -> None:
    """What oneDNN says it executes: every convolution reads and multiplies int8."""
    code = """
import sys, numpy
from pathlib import Path
from ppsplit.bundle import HEAD, Bundle
from ppsplit.runtime import load_program
bundle = Bundle.open(Path(sys.argv[1]))
head = load_program(bundle, bundle.program(bundle.cut(), HEAD, "paddle", "ptq-hist"))
head.run({"image": numpy.zeros((1, 3, 32, 48), numpy.float32)})
"""
    command = [sys.executable, "-c", code, str(bundle.root)]
    environment = {**os.environ, "ONEDNN_VERBOSE": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    child = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    executed = [line for line in child.stdout.splitlines() if ",exec,cpu,convolution," in line]
    assert len(executed) == 2
    assert all("src_s8" in line and "wei_s8" in line and "bia_f32" in line for line in executed)
    assert "quantized" not in child.stderr


def test_packed_weights_are_all_there_is_of_them(bundle: Bundle) -> None:
    rows = {(r["runtime"], r["target"], r["precision"]): r for r in head_rows(bundle, PHOTOS[:1])}
    program = bundle.program(bundle.cut(), HEAD, "paddle", "mixed")
    assert set(program.files) == {"model", "packed"}
    packed = (bundle.root / program.files["packed"]).stat().st_size
    codes = (8 * 3 * 9 * 5 + 8 * 8 * 9 * 3) / 8  # stem in 5 bits, deep in 3
    assert codes < packed < codes + 700
    assert rows["lite", "x86", "mixed"]["disk_bytes"] < packed + 2500 < rows["lite", "x86", "fp32"]["disk_bytes"]
    assert rows["lite", "arm", "mixed"]["head_error"] is None
    assert rows["paddle", "any", "fp32"]["head_error"] == 0
    assert 0 < rows["paddle", "any", "ptq-hist"]["head_error"] < rows["paddle", "any", "mixed"]["head_error"] < 0.3
    plan_file = json.loads((bundle.root / "cut0-deep/mixed/plan.json").read_text())
    assert plan_file["weight_bits"] == {"stem": 5, "deep": 3} and plan_file["activation_bits"] == {}


def test_packed_weights_of_another_program_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    folder = bundle.root / "cut0-deep"
    with pytest.raises(InferenceRuntimeError, match="belongs to another program"):
        PaddleRuntime(folder / "tail.pdmodel", folder / "mixed/weights.ppqw", packed=True)
    (tmp_path / "weights.ppqw").write_bytes(b"PPQW")
    with pytest.raises(InferenceRuntimeError, match="packed weights"):
        PaddleRuntime(folder / "mixed/model.pdmodel", tmp_path / "weights.ppqw", packed=True)


def test_a_memory_limit_rounds_activations_too(skip_model: FrozenModel, tmp_path: Path) -> None:
    limited = plan(quant=("mixed",), bits=(), memory_bytes=68_000, nb_targets=())
    made = export_bundle(skip_model, limited, tmp_path / "b", lambda step: None)
    chosen = json.loads((made.root / "cut0-deep/mixed/plan.json").read_text())
    assert chosen["memory_bytes"] <= chosen["limit_bytes"] == 68_000
    assert set(chosen["weight_bits"]) == {"stem", "deep"} and {"image", "pool"} <= set(chosen["activation_bits"])
    assert max(chosen["activation_bits"].values()) <= 8
    with pytest.raises(QuantizationError, match="raise --edge-memory"):
        export_bundle(skip_model, plan(bits=(), memory_bytes=1000), tmp_path / "c", lambda step: None)
    assert not (tmp_path / "c").exists()


def test_learnt_clips_are_the_ones_that_run(skip_model: FrozenModel, bundle: Bundle, tmp_path: Path) -> None:
    """Handed the extremes for clips, qat computes what calibrating by the extremes would."""
    image = np.random.default_rng(3).random((1, 3, 32, 48), np.float32)
    names = quantizable_activations(skip_model.program.graph())
    seen = observe(skip_model.program, names, [image])
    stages = {tensor: stage for stage, tensor in skip_model.stages.items()}
    clips = {stages.get(name, name): value.largest for name, value in seen.items()}
    made = export_bundle(
        skip_model, plan(quant=("qat",), bits=(), clips=clips, nb_targets=()), tmp_path / "b", lambda step: None
    )
    head, exact = (
        load_program(made, made.program(made.cut(), HEAD, "paddle", precision)).run({"image": image})
        for precision in ("qat", "fp32")
    )
    for name, values in exact.items():
        assert 0 < np.abs(head[name] - values).max() < 0.05 * np.abs(values).max()
    for learnt, message in ((None, "carries no activation clips"), ({"image": 1.0}, "none of")):
        with pytest.raises(QuantizationError, match=message):
            export_bundle(skip_model, plan(quant=("qat",), clips=learnt), tmp_path / "c", lambda step: None)


def test_images_that_say_nothing_leave_nothing(skip_model: FrozenModel, tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "grey.png"), np.full((40, 50, 3), 90, np.uint8))
    grey = (tmp_path / "grey.png",)
    for precision in ("ptq-hist", "mixed"):
        with pytest.raises(CalibrationError, match="of a single value"):
            export_bundle(skip_model, plan(quant=(precision,), calibration_images=grey), tmp_path / "b", lambda s: None)
    assert [path.name for path in tmp_path.iterdir()] == ["grey.png"]


def test_noise_is_not_certified(skip_model: FrozenModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quantized head that is off by several times the output's range is refused, one that is a little off is not."""
    monkeypatch.setattr(certify, "ABSURD", 1e-4)
    with pytest.raises(CertificationError, match="more bits, or other calibration images"):
        export_bundle(skip_model, plan(quant=("ptq-hist",)), tmp_path / "b", lambda step: None)
    assert not list(tmp_path.iterdir())


def test_a_bundle_is_quantized_again_without_splitting(bundle: Bundle, tmp_path: Path) -> None:
    again = QuantPlan(("mixed", "ptq-aciq"), None, (("stem", 2),), None)
    made = quantize_bundle(bundle, again, ("x86",), PHOTOS, PHOTOS, tmp_path / "again", lambda step: None)
    assert made.manifest.precision == "mixed" and made.manifest.fingerprint != bundle.manifest.fingerprint
    on_disk = {p.relative_to(made.root).as_posix() for p in made.root.rglob("*") if p.is_file()}
    assert on_disk == {*made.manifest.files, "manifest.json"}
    kept = {(p.runtime, p.target, p.precision) for p in made.cut().programs if p.part == HEAD}
    assert ("lite", "arm", "ptq-hist") in kept and ("lite", "arm", "mixed") not in kept
    chosen = json.loads((made.root / "cut0-deep/mixed/plan.json").read_text())
    assert chosen["weight_bits"] == {"stem": 2, "deep": 8}
    assert ("paddle", "ptq-aciq") in certified(made)
    same = quantize_bundle(made, again, ("x86",), PHOTOS, PHOTOS, made.root, lambda step: None)  # in its own place
    assert certified(same).keys() == certified(made).keys()
    for name in same.manifest.files:
        same.path(name)
