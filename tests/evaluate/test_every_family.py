"""The whole path for every family, narrow, at three cuts each.

Cuts are listed, exported with int8 heads and certified; a server is asked by a client whose head runs in Paddle Lite,
and its answers are compared with the whole network's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest

from ppsplit.bundle import Bundle
from ppsplit.cli import main
from ppsplit.decode import CLASSIFY
from ppsplit.edge.__main__ import main as edge_main
from ppsplit.models import CLASSIFIERS, build_model, model_family
from ppsplit.models.checkpoint import save_checkpoint
from ppsplit.paddle_first import paddle
from tests.tiny_bundle import serving, write_photos

QUICK = ("yolov8n-seg", "mobilenet_v2")
DETECTORS = ("yolov3_tiny", "yolov3_darknet53", "yolov3_spp", "yolo11n", "yolo11m", "yolov8n", "yolov8n-seg")
NAMES = (*DETECTORS, *(family.name for family in CLASSIFIERS))
HW = "64,96"
TOLD = ["--score-threshold", "0", "--max-detections", "5"]


def three_cuts(name: str) -> List[str]:
    """An early, a middle and a late one."""
    cuts = model_family(name).reference_cuts
    return [cuts[0], cuts[len(cuts) // 2], cuts[-1]]


def found(report: Path) -> List[List[Dict[str, Any]]]:
    """Of each photo, what was seen, by its name."""
    images = sorted(json.loads(report.read_text())["images"], key=lambda image: str(image["image"]))
    return [image["classes"] if "classes" in image else image["detections"] for image in images]


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_from_weights_to_answers(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paddle.seed(3)
    network = build_model(name, num_classes=6, width=0.125)
    network.class_names = ("a", "b", "c", "d", "e", "f")
    save_checkpoint(network, tmp_path / "narrow.npz")
    photos, bundle, cuts = write_photos(tmp_path / "photos", 2), tmp_path / "bundle", three_cuts(name)
    options = ["--model", name, "--weights", str(tmp_path / "narrow.npz"), "--input-hw", HW]

    assert main(["export-split", *options, "--list-cuts", "true", "--json", str(tmp_path / "cuts.json")]) == 0
    listed = {row["name"] for row in json.loads((tmp_path / "cuts.json").read_text())["rows"]}
    assert len(listed) > 3 and "output" in listed  # a cut with several names stands there by one of them
    capsys.readouterr()  # the table is long
    images = ["--calibration-images", str(photos), "--certify-images", str(photos)]
    exporting = [*options, *images, "--cut", ",".join(cuts), "--quant", "int8", "--nb", "x86", "--output", str(bundle)]
    assert main(["export-split", *exporting]) == 0, capsys.readouterr().err
    certified(Bundle.open(bundle), cuts)

    whole = tmp_path / "whole.json"
    asked = ["--input", str(photos), "--bundle", str(bundle), *TOLD]
    assert main(["infer", *asked, "--output", str(tmp_path / "infer"), "--json", str(whole)]) == 0
    assert len(list((tmp_path / "infer").glob("*.png"))) == 2
    with serving(bundle) as server:
        for index, cut in enumerate(cuts):
            report = tmp_path / f"{index}.json"
            way = ["--server", server.url, "--cut", cut, "--encoding", "fp32", "--precision", "fp32", "--no-draw"]
            assert edge_main([*asked, *way, "--json", str(report)]) == 0, capsys.readouterr().err
            same_answers(found(report), found(whole))
            assert edge_main([*asked, *way[:4], "--precision", "int8", "--no-draw", "--json", str(report)]) == 0
            assert [len(seen) for seen in found(report)] == [len(seen) for seen in found(whole)]


def certified(bundle: Bundle, cuts: List[str]) -> None:
    assert [cut.name for cut in bundle.manifest.cuts] == cuts
    for cut in bundle.manifest.cuts:
        kinds = {(made.runtime, made.precision) for made in cut.certificates if made.runtime != "openvino"}
        assert kinds == {(runtime, precision) for runtime in ("paddle", "lite") for precision in ("fp32", "int8")}
        errors = {c.precision: c.max_relative_error for c in cut.certificates}
        assert errors["fp32"] <= 1e-4 and np.isfinite(errors["int8"])


def same_answers(ours: List[List[Dict[str, Any]]], whole: List[List[Dict[str, Any]]]) -> None:
    for seen, expected in zip(ours, whole):
        assert len(seen) == len(expected) > 0
        np.testing.assert_allclose([o["score"] for o in seen], [o["score"] for o in expected], atol=1e-3)
        assert ["mask" in o for o in seen] == ["mask" in o for o in expected]


def test_every_kind_of_answer_is_tried_quickly() -> None:
    families = [model_family(name) for name in QUICK]
    assert {family.decode.family for family in families} == {"yolov8", CLASSIFY}
    assert any(family.decode.params.get("mask_channels") for family in families)
