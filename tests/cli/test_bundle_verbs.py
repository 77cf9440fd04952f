"""inspect, tail and download on a small bundle and an empty folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ppsplit.bundle import Bundle
from ppsplit.cli import main
from ppsplit.cli.inspect import cut_row
from ppsplit.zoo import ZOO
from tests.tiny_bundle import write_photos


def test_inspect_shows_every_cut_program_and_certificate(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(tiny_bundle), "--verify", "--json", str(tmp_path / "cuts.json")]) == 0
    out = capsys.readouterr().out
    manifest = Bundle.open(tiny_bundle).manifest
    assert manifest.fingerprint[:12] in out and f"all {len(manifest.files)} files have the sha256" in out
    for cut in manifest.cuts:
        assert all(name in out for program in cut.programs for name in program.files.values())
    rows = json.loads((tmp_path / "cuts.json").read_text(encoding="utf-8"))["rows"]
    assert [row["name"] for row in rows] == [cut.name for cut in manifest.cuts]


def test_payload_sizes_are_whole_bytes(tiny_bundle: Path) -> None:
    cut = Bundle.open(tiny_bundle).cut("deep")
    count = cut.tensors[0].elements_per_image
    row = cut_row(cut)
    sizes = [row[f"{name}_bytes"] for name in ("fp32", "fp16", "uint8", "uint4")]
    assert sizes == [count * 4, count * 2, count, (count + 1) // 2]


def test_verify_names_a_damaged_file(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))
    name = sorted(Bundle.open(copy).manifest.files)[0]
    (copy / name).write_bytes(b"other")
    assert main(["inspect", str(copy)]) == 0
    assert main(["inspect", str(copy), "--verify"]) == 1
    assert f"{copy / name} is damaged" in capsys.readouterr().err


def test_tail_finishes_what_the_client_saved(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, features, table = write_photos(tmp_path / "photos", 2), tmp_path / "f.bin", tmp_path / "t.json"
    client = ["client", "--bundle", str(tiny_bundle), "--input", str(photos), "--runtime", "paddle"]
    assert main([*client, "--save-features", str(features)]) == 0
    assert main(["tail", str(features), "--bundle", str(tiny_bundle), "--json", str(table)]) == 0
    rows = json.loads(table.read_text(encoding="utf-8"))["rows"]
    assert rows and {"image", "class_id", "score", "box_xyxy"} <= set(rows[0])
    assert main(["tail", str(photos / "0.png"), "--bundle", str(tiny_bundle)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_download_lists_the_zoo_and_names_what_it_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["download", "--output", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ZOO)
    assert main(["download", "yolov9", "--output", str(tmp_path)]) == 1
    assert "yolov3-tiny" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
