"""The report on a small bundle that really runs: kernels, bytes, AP, the page and the verb."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest

from ppsplit.bundle import Bundle
from ppsplit.cli import main
from ppsplit.cli import quant_report as quant_report_verb
from ppsplit.data.coco import CocoSet
from ppsplit.detections import Detections
from ppsplit.errors import InferenceRuntimeError
from ppsplit.evaluate import quant_kernels
from ppsplit.evaluate.quant_costs import packed_bytes
from ppsplit.evaluate.quant_findings import findings
from ppsplit.evaluate.quant_kernels import Executed, lite_kernels, onednn_kernels, verdict
from ppsplit.evaluate.quant_page import quant_page
from ppsplit.evaluate.quant_subjects import subjects_of
from ppsplit.metrics.bootstrap import ap_difference, ap_differences
from tests.tiny_bundle import CLASS_NAMES, export_tiny

QUANT = ("int8", "ptq-hist", "mixed")
ONEDNN = (  # shortened behind what is read
    "onednn_verbose,info,cpu,isa:Intel AVX-512 with Intel DL Boost",
    "onednn_verbose,exec,cpu,reorder,jit:uni,undef,src_f32::blocked:abcd::f0 dst_s8::blocked:acdb::f0,,,1x3x8x8,0.1",
    "onednn_verbose,exec,cpu,convolution,brgconv:avx512_core_vnni,forward_inference,"
    "src_u8:a:blocked:acdb::f0 wei_s8:a:blocked:AcdB32a4b::f1:s8m1 dst_s8:a:blocked:acdb::f0,,,mb1,0.2",
    "onednn_verbose,exec,cpu,inner_product,brgemm:avx512_core,forward_inference,"
    "src_f32::blocked:ab::f0 wei_f32:a:blocked:AB16b64a::f0 dst_f32::blocked:ab::f0,,,mb1ic8oc8,0.2",
    "something else that the process printed, with, commas, of, its, own, convolution",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle in `bundle/` and, as a labelled set, its photos in `val/`."""
    folder = tmp_path_factory.mktemp("report")
    export_tiny("yolov3", folder / "made", QUANT, ("output",))
    photos = sorted((folder / "made" / "photos").iterdir())
    (folder / "val" / "images").mkdir(parents=True)
    for photo in photos:
        (folder / "val" / "images" / photo.name).write_bytes(photo.read_bytes())
    values = {
        "images": [{"id": i, "file_name": photo.name} for i, photo in enumerate(photos, 1)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASS_NAMES, 1)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [10, 10, 20, 30], "area": 600, "iscrowd": 0}
            for i in range(1, len(photos) + 1)
        ],
    }
    (folder / "val" / "instances.json").write_text(json.dumps(values))
    return folder


@pytest.fixture(scope="module")
def written(root: Path) -> Dict[str, Any]:
    """What the verb wrote, as JSON."""
    bundle, photos = root / "made" / "bundle", root / "made" / "photos"
    options = ["--calibration-images", photos, "--calibration-count", 2, "--root", root, "--blame-images", 2]
    options += ["--resamples", 10, "--rounds", 1, "--json", root / "quant.json", "--html", root / "quant.html"]
    assert main(["quant-report", str(bundle), *map(str, options)]) == 0
    values: Dict[str, Any] = json.loads((root / "quant.json").read_text(encoding="utf-8"))
    return values


@pytest.fixture
def heads(written: Dict[str, Any]) -> Dict[str, Dict[str, Any]]:
    return {row["name"]: row for row in written["cuts"][0]["heads"]}


def test_integers_are_multiplied_only_where_the_runtime_says_so(heads: Dict[str, Dict[str, Any]]) -> None:
    for name, row in heads.items():
        kinds = set(row["matrix_work"])
        assert sum(row["matrix_work"].values()) == 3, name
        if "ptq" in name:
            assert kinds & {"s8", "u8"} and row["int8_share"] > 0, name
        else:
            assert kinds == {"f32"} and row["int8_share"] == 0, name
    assert heads["lite-x86/int8"]["bytes_ratio"] < 1
    assert heads["lite-x86/int8"]["says"] == "smaller file, same arithmetic as fp32"


def test_bytes_are_those_on_the_disk(root: Path, heads: Dict[str, Dict[str, Any]]) -> None:
    for subject in subjects_of(Bundle.open(root / "made" / "bundle")):
        row = heads[subject.name]
        assert row["bytes"] == sum(path.stat().st_size for path in subject.files())
        beside = [path for path in subject.bundle.root.rglob("int8/quantized_model/*") if path.is_file()]
        expected = sum(path.stat().st_size for path in beside) if subject.name == "paddle/int8" else 0
        assert packed_bytes(subject) == expected == (row["packed_bytes"] or 0)


def test_memory_and_milliseconds_are_measured(heads: Dict[str, Dict[str, Any]]) -> None:
    for row in heads.values():
        assert row["head_ms"] > 0 and row["peak_mib"] > row["framework_mib"] > 5
        assert row["head_mib"] == pytest.approx(row["peak_mib"] - row["framework_mib"], abs=0.11)
    assert heads["paddle/fp32"]["head_ratio"] == heads["lite-x86/fp32"]["head_ratio"] == 1


def test_ap_and_its_interval_of_every_head(heads: Dict[str, Dict[str, Any]]) -> None:
    assert "ap_points" not in heads["paddle/fp32"]
    for row in heads.values():
        assert 0 <= row["ap"] <= row["ap50"] <= 1 and row["images"] == 3
    same = heads["lite-x86/fp32"]
    assert same["ap_points"] == pytest.approx(0, abs=1e-6)
    assert same["ap_points_low"] <= same["ap_points"] <= same["ap_points_high"]


def test_layers_of_every_quantized_head_in_paddle(written: Dict[str, Any]) -> None:
    rows = written["cuts"][0]["layers"]
    assert [(row["precision"], row["layer"]) for row in rows] == [
        (precision, layer) for precision in QUANT for layer in ("stem", "deep", "head")
    ]
    assert all("ap_points_recovered" in row for row in rows)


def test_the_page_needs_nothing_else(root: Path, written: Dict[str, Any]) -> None:
    page = (root / "quant.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 5
    assert not re.search(r"(?:src|href)=(?!\"data:)|https?://|<script|@import|url\(", page)
    for sentence in written["cuts"][0]["findings"]:
        assert sentence.replace("'", "&#x27;") in page
    assert "stem" in page and "lite-x86/ptq-hist" in page


def test_a_name_in_the_page_is_no_markup(written: Dict[str, Any]) -> None:
    page = quant_page({**written["about"], "model": "<b>&"}, [], str)
    assert "<b>&" not in page and "&lt;b&gt;&amp;" in page


def test_what_cannot_be_measured_is_said(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = str(root / "made" / "bundle")
    assert main(["quant-report", bundle, "--blame-images", "2"]) == 1
    assert "--root" in capsys.readouterr().err
    assert main(["quant-report", bundle, "--cut", "nowhere"]) == 1
    assert "it has: output" in capsys.readouterr().err
    assert main(["quant-report", bundle, "--calibration-images", str(root / "nothing")]) == 1
    assert "cannot calibrate" in capsys.readouterr().err
    assert main(["quant-report", bundle, "--root", str(root), "--val-split", "test"]) == 1
    assert "no data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rounds", "0"], "--rounds is 0; expected at least 1"),
        (["--resamples", "0"], "--resamples is 0; expected at least 1"),
        (["--blame-images", "-3", "--root", "."], "--blame-images is -3; expected at least 0"),
        (["--threads", "0"], "threads is 0; expected at least 1"),
        (["--limit", "3"], "--limit is of a labelled set's images"),
        (["--cut", "output,nowhere"], "no cut 'nowhere'"),
        (["--json", "."], "--json . is a folder"),
        (["--html", "."], "--html . is a folder"),
        (["--json", "one", "--html", "./one"], "both one"),
    ],
)
def test_what_would_fail_at_the_end_is_said_before_anything_is_measured(
    options: List[str],
    message: str,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def measured(*arguments: Any) -> Dict[str, Any]:
        raise AssertionError("it was measured")

    monkeypatch.setattr(quant_report_verb, "quant_report", measured)
    monkeypatch.chdir(tmp_path)
    assert main(["quant-report", str(root / "made" / "bundle"), "--calibration-count", "1", *options]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_head_that_does_not_end_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quant_kernels, "TIMEOUT_S", 0.01)
    subject = subjects_of(Bundle.open(root / "made" / "bundle"))[0]
    with pytest.raises(InferenceRuntimeError, match="paddle/fp32 did not load and run within"):
        quant_kernels.run_apart(subject)


def test_other_classes_are_refused(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = json.loads((root / "val" / "instances.json").read_text())
    values["categories"][0]["name"] = "dog"
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "images").symlink_to(root / "val" / "images")
    (tmp_path / "val" / "instances.json").write_text(json.dumps(values))
    assert main(["quant-report", str(root / "made" / "bundle"), "--root", str(tmp_path)]) == 1
    assert "'dog'" in capsys.readouterr().err


def test_a_cut_with_nothing_on_the_edge_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = export_tiny("yolov3", tmp_path, (), ("input",))
    assert main(["quant-report", str(bundle), "--cut", "input"]) == 1
    assert "nothing to compute on the edge" in capsys.readouterr().err


def test_kernels_that_onednn_prints() -> None:
    executed = onednn_kernels(ONEDNN * 3, 3)
    assert executed.matrix_work == {"u8": 1, "f32": 1}
    assert (executed.others, executed.int8_share) == (1, 0.5)


def test_kernels_in_a_nb() -> None:
    executed = lite_kernels(("feed/def/1/4/2", "calib/fp32_to_int8/2/2/1", "conv2d/fp32_out/2/2/1", "fc/def/4/1/1"))
    assert (executed.matrix_work, executed.others) == ({"s8": 1, "f32": 1}, 2)


@pytest.mark.parametrize(
    ("matrix_work", "ratio", "expected"),
    [
        ({"f32": 4}, 0.3, "smaller file, same arithmetic as fp32"),
        ({"f32": 4}, 1.0, "file as large, same arithmetic as fp32"),
        ({"s8": 3, "u8": 1}, 0.3, "smaller file, int8 arithmetic"),
        ({"s8": 3, "f32": 1}, 1.2, "larger file, int8 arithmetic in 3 of 4 layers"),
        ({}, 0.3, "smaller file; which arithmetic cannot be seen"),
    ],
)
def test_verdict(matrix_work: Dict[str, int], ratio: float, expected: str) -> None:
    assert verdict(Executed(matrix_work, 0, ""), ratio) == expected


def head_row(runtime: str, precision: str, error: float) -> Dict[str, Any]:
    seen = {"matrix_work": {"s8": 1}, "int8_share": 1.0, "says": "int8", "evidence": "seen"}
    costs = {"bytes": 10, "packed_bytes": None, "bytes_ratio": 0.3, "head_ratio": 0.5, "head_mib": 1.0}
    name = f"{runtime}/{precision}"
    return {"name": name, "runtime": runtime, "precision": precision, "output_error": error, **seen, **costs}


@pytest.mark.parametrize(("error", "is_told"), [(2e-2, True), (4e-4, False)])
def test_paddle_lite_far_behind_paddle_inference_is_told(error: float, is_told: bool) -> None:
    said = findings([head_row("paddle", "ptq-kl", 3e-4), head_row("lite", "ptq-kl", error)], [])
    told = [sentence for sentence in said if "inaccurate" in sentence]
    assert bool(told) is is_told
    if told:
        assert "2.0e-02 against 3.0e-04" in told[0] and "Paddle Inference (--runtime paddle)" in told[0]


def test_what_unpacks_the_integers_is_not_mistaken() -> None:
    floats = {"int8_share": 0.0, "matrix_work": {"f32": 1}}
    rows = [{**head_row("lite", precision, 0.0), **floats} for precision in ("int8", "mixed")]
    int8, mixed = findings(rows, [])
    assert "Paddle Lite turns the integers back" in int8 and "unpacked" not in int8
    assert "Paddle Lite turns" not in mixed and "unpacked to fp32 in memory" in mixed


def test_the_layer_that_costs_most_is_not_said_to_cost_most_of_it() -> None:
    layers = [
        {"precision": "int8", "layer": name, "blame_rank": rank, "error_recovered_share": share}
        for rank, (name, share) in enumerate([("a", 0.39), ("b", 0.3), ("c", 0.31)], 1)
    ]
    (said,) = findings([], layers)
    assert said == "int8: a costs more than any other layer; put back to fp32, it takes 39% of the error away."


def test_the_smallest_file_is_the_one_of_fewest_bytes() -> None:
    ap = {"ap_points": -0.5, "ap_points_low": -1.0, "ap_points_high": 0.1, "images": 3}
    large = {**head_row("paddle", "mixed", 0.0), **ap, "bytes": 2000, "bytes_ratio": 0.25}
    small = {**head_row("lite", "mixed", 0.0), **ap, "bytes": 1500, "bytes_ratio": 0.27}
    assert "is lite/mixed: 1,500 bytes, 27.0% of fp32 in the same runtime" in findings([large, small], [])[-1]


def test_a_head_without_numbers_is_told() -> None:
    said = findings([head_row("paddle", "ptq-kl", float("nan"))], [])
    assert any("not finite" in sentence for sentence in said)


def test_several_differences_are_the_single_ones(root: Path) -> None:
    coco_set = CocoSet.open(root / "val" / "instances.json", root / "val" / "images")
    generator = np.random.default_rng(3)

    def guessed() -> Dict[int, Detections]:
        boxes = [np.array([[10, 10, 30, 40]]) + generator.uniform(-8, 8, (1, 4)) for _ in coco_set.images]
        return {
            image.image_id: Detections(box.astype(np.float32), np.array([0.5], np.float32), np.array([0], np.int64))
            for image, box in zip(coco_set.images, boxes)
        }

    before, others = guessed(), [guessed(), guessed()]
    several: List[Any] = ap_differences(coco_set, before, others, 20)
    assert several == [ap_difference(coco_set, before, other, 20) for other in others]
    assert ap_differences(coco_set, before, [], 20) == []
