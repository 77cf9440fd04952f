"""Files of all sorts, whole and broken, and the verb."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Callable

import pytest

from ppsplit.bundle import Bundle
from ppsplit.cli import main
from ppsplit.doctor import CAVEAT, FATAL, FINE, examine
from ppsplit.doctor.examine import format_finding
from ppsplit.errors import BundleError, ConfigError, ProgramError
from ppsplit.paddle_first import paddle
from tests.doctor.conftest import Save

PIR = {"base_code": {"magic": "pir", "trainable": False, "version": 1}, "program": {"regions": []}}


def found(path: Path, check: str, target: str = "arm") -> Any:
    return next(finding for finding in examine(path, target) if finding.check == check)


def test_folder_file_and_prefix_are_the_same_program(save: Save) -> None:
    folder = save()
    rows = [examine(path, "x86") for path in (folder, folder / "model.pdmodel", folder / "model")]
    assert rows[0] == rows[1] == rows[2] and {finding.state for finding in rows[0]} == {FINE}


def test_a_program_of_paddle_3_is_told_how_to_be_saved(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps(PIR))
    for path in (tmp_path, tmp_path / "model.json", tmp_path / "model"):
        finding = found(path, "format")
        assert finding.state == FATAL and "FLAGS_enable_pir_api=0" in finding.cure


@pytest.mark.parametrize(
    ("version", "state"), [(0, CAVEAT), (2_004_000, FINE), (2_006_002, FINE), (3_000_000, CAVEAT), (2_007_000, CAVEAT)]
)
def test_versions_of_paddle(version: int, state: str) -> None:
    assert format_finding(version, "model.pdmodel").state == state


def test_old_names_and_parameters_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "__model__").write_bytes(b"program")
    (tmp_path / "conv2d_0.w_0").write_bytes(b"weights")
    assert "one by one" in found(tmp_path, "format").found
    (tmp_path / "__params__").write_bytes(b"weights")
    assert "rename __model__" in found(tmp_path, "format").cure


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.unlink(), "is missing"),
        (lambda p: p.write_bytes(b""), "holds 0 parameters"),
        (lambda p: p.write_bytes(p.read_bytes()[:10]), "within conv2d_0.b_0, after 0"),
        (lambda p: p.write_bytes(p.read_bytes()[:500]), "within conv2d_0.w_0, after 1"),
        (lambda p: p.write_bytes(p.read_bytes()[:-1]), "after 3 parameters"),
        (lambda p: p.write_bytes(p.read_bytes() + bytes(40)), "after 4 parameters"),
        (lambda p: p.write_bytes(b"\xff" * 2000), "after 0 parameters"),
        (lambda p: p.write_bytes(p.read_bytes() * 2), "8 parameters of other shapes than the 4"),
    ],
    ids=["missing", "empty", "in a head", "in values", "one byte short", "longer", "garbage", "twice"],
)
def test_parameters_that_are_not_all_there(damage: Callable[[Path], Any], message: str, save: Save) -> None:
    folder = save()
    damage(folder / "model.pdiparams")
    finding = found(folder, "parameters")
    assert finding.state == FATAL and message in finding.found and finding.cure


def test_parameters_beside_the_program(save: Save) -> None:
    folder = save()
    (folder / "model.pdiparams").unlink()
    (folder / "conv2d_0.w_0").write_bytes(b"weights")
    assert "one by one" in found(folder, "parameters").found


def test_a_damaged_program_is_a_finding_and_nothing_there_an_error(save: Save, tmp_path: Path) -> None:
    folder = save()
    (folder / "model.pdmodel").write_bytes(b"garbage" * 100)
    assert found(folder, "format").state == FATAL
    (tmp_path / "some.json").write_text("{}")
    (tmp_path / "some.nb").write_bytes(b"")
    for path, message in (("none", "no program at"), ("some.json", "no program"), ("some.nb", "converted already")):
        with pytest.raises(ProgramError, match=message):
            examine(tmp_path / path, "arm")
    with pytest.raises(ConfigError, match="choose from arm, x86, opencl"):
        examine(folder, "riscv")


def test_a_bundle_is_examined_whole(tiny_bundle: Path) -> None:
    findings = examine(tiny_bundle, "x86")
    assert {finding.state for finding in findings} == {FINE}
    assert findings[-1].check == "nb" and "whole, by Paddle Lite v2.13" in findings[-1].found
    assert "no .nb for arm" in found(tiny_bundle, "nb", "arm").found


def test_opencl_is_looked_at_and_not_written(tiny_bundle: Path) -> None:
    assert found(tiny_bundle, "target", "opencl").state == CAVEAT


def test_a_damaged_bundle_is_an_error(tiny_bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    name = next(p.files["nb"] for p in Bundle.open(copy).cut("stem").programs if p.runtime == "lite")
    (copy / name).write_bytes(b"\0")
    with pytest.raises(BundleError, match="damaged"):
        examine(copy, "x86")


@pytest.mark.parametrize(
    ("function", "code"), [(paddle.nn.functional.relu, 0), (paddle.erfinv, 1), (paddle.sum, 2)], ids=["0", "1", "2"]
)
def test_the_verb_ends_with_the_code(function: Any, code: int, save: Save, capsys: Any, tmp_path: Path) -> None:
    folder = save(function)
    assert main(["doctor", str(folder), "--target", "x86", "--json", str(tmp_path / "table.json")]) == code
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["about"] == {"program": str(folder), "target": "x86", "exit_code": code}
    assert [row["check"] for row in table["rows"]][:5] == [
        "paddle lite",
        "architecture",
        "processor",
        "format",
        "parameters",
    ]
    assert "operators" in capsys.readouterr().out


def test_the_verb_tells_errors_in_one_line(capsys: Any, tmp_path: Path) -> None:
    assert main(["doctor", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.startswith("error: no program at")
    assert main(["doctor", str(tmp_path), "--target", "fpga"]) == 1
    assert "one of arm, x86, opencl" in capsys.readouterr().err
