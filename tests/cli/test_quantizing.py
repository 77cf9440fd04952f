"""--quant and what goes with it, as a user writes it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, List

import pytest

from ppsplit.bundle import Bundle, DecodeSpec
from ppsplit.cli import main
from ppsplit.cli.quantizing import chosen_quantizers, parse_bytes, with_preprocessing
from ppsplit.errors import ConfigError
from ppsplit.export.freeze import RAW, FrozenModel
from ppsplit.image import Preprocess
from tests.tiny_bundle import write_photos


@pytest.mark.parametrize(
    ("text", "count"),
    [("1", 1), ("500", 500), ("2MiB", 2 * 2**20), ("500KiB", 512_000), ("1.5MB", 1_500_000), ("2 mib", 2 * 2**20),
     ("0.5KiB", 512), ("1GB", 10**9), ("7B", 7)],
)  # fmt: skip
def test_sizes(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    "text", ["", "MiB", "0", "0MiB", "-1", "2 Mi", "2TiB", "1e6", "2MiB!", "1.5.5MB", "0.2", "9" * 400]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no size"):
        parse_bytes(text)


def test_ptq_is_short_for_hist() -> None:
    assert chosen_quantizers(["ptq", "int8", "ptq-hist"], None, [], None).precisions == ("ptq-hist", "int8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--quant", "int4"], "choose from int8, int16, ptq, ptq-kl"),
        (["--quant", "mixed"], "neither was given"),
        (["--quant", "mixed", "--bits", "a=4", "--edge-memory", "2MiB"], "--edge-memory and --bits was given"),
        (["--quant", "mixed", "--edge-memory", "2 apples"], "'2 apples' is no size"),
        (["--quant", "mixed", "--edge-memory", "1KiB"], "raise --edge-memory"),
        (["--quant", "mixed", "--bits", "stem=9"], "'stem=9' is no rule"),
        (["--quant", "mixed", "--bits", "stm=4"], "did you mean stem"),
        (["--quant", "ptq", "--bits", "stem=4"], "--bits goes with --quant mixed"),
        (["--quant", "int8", "--mean", "0.5,0.5,0.5"], "leave --resize, --mean and --std out"),
        (["--quant", "qat"], "--quant qat needs --weights"),
        (["--quant", "ptq", "--calibration-images", "gone"], "gone does not exist"),
        (["--quant", "ptq", "--calibration-images", "."], "no image in"),
        (["--quant", "ptq", "--calibration-images", "black"], "of a single value"),
        (["--quant", "ptq", "--calibration-images", "broken"], "broken/a.png"),
    ],
)
def test_what_is_wrong_is_one_line(
    options: List[str], message: str, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    import cv2
    import numpy as np

    monkeypatch.chdir(tmp_path)
    for folder in ("black", "broken"):
        (tmp_path / folder).mkdir()
    cv2.imwrite("black/a.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "broken/a.png").write_bytes(b"no picture")
    assert main(["export-quant", str(tiny_bundle), "--nb", "x86", "--output", "out", *options]) == 1
    said = capsys.readouterr().err.splitlines()
    assert message in said[-1] and said[-1].startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_a_program_and_a_bundle_can_be_quantized(skip_like: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    images = write_photos(tmp_path / "photos", 2)
    words = ["--nb", "x86", "--calibration-images", str(images), "--certify-images", str(images)]
    for source, cuts in ((skip_like, ["output"]), (tiny_bundle, ["deep", "stem", "output"])):
        output = tmp_path / f"{source.parent.name}-quant"
        options = ["--quant", "ptq-mse,mixed", "--bits", "*=4", *words, "--output", str(output)]
        assert main(["export-quant", str(source), *options]) == 0
        made = Bundle.open(output)
        assert [cut.name for cut in made.manifest.cuts] == cuts
        rows = json.loads(output.with_name(f"{output.name}.quant.json").read_text())["rows"]
        assert {(r["runtime"], r["precision"]) for r in rows} == {
            (runtime, precision) for runtime in ("paddle", "lite") for precision in ("fp32", "ptq-mse", "mixed")
        }
        assert all(0 < row["head_error"] < 0.2 for row in rows if row["precision"] == "mixed")
    assert main(["inspect", str(output), "--verify", "--json", str(tmp_path / "cuts.json")]) == 0


@pytest.mark.parametrize("source", ["bundle", "program"])
def test_the_current_folder_can_be_the_output(
    source: str, skip_like: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = str(tiny_bundle if source == "bundle" else skip_like)
    assert main(["export-quant", path, "--quant", "int8", "--nb", "x86", "--output", "."]) == 0
    assert Bundle.open(tmp_path / "here").manifest.name == "here"
    assert (tmp_path / "here.quant.json").is_file()


def test_what_is_not_said_of_a_programs_input_stays() -> None:
    known = Preprocess((32, 48), resize="letterbox", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    imported = FrozenModel("imported", None, known, DecodeSpec(RAW))  # type: ignore[arg-type]
    assert with_preprocessing(imported, None, None, None).preprocess == known
    changed = with_preprocessing(imported, None, None, (1.0, 1.0, 1.0)).preprocess
    assert changed == dataclasses.replace(known, std=(1.0, 1.0, 1.0))
    with pytest.raises(ConfigError, match="knows how photos become its input"):
        with_preprocessing(dataclasses.replace(imported, decode=DecodeSpec("yolov3")), "crop", None, None)


def test_an_imported_program_is_quantized_with_its_own_preprocessing(skip_like: Path, tmp_path: Path) -> None:
    frozen, known = FrozenModel.load(skip_like), (0.485, 0.456, 0.406)
    dataclasses.replace(frozen, preprocess=frozen.preprocess.but(resize="letterbox", mean=known)).save(tmp_path / "own")
    options = ["--quant", "int8", "--nb", "x86", "--certify-count", "1", "--output", str(tmp_path / "made")]
    assert main(["export-quant", str(tmp_path / "own"), *options]) == 0
    made = Bundle.open(tmp_path / "made").manifest.preprocess
    assert (made.resize, made.mean) == ("letterbox", known)


@pytest.fixture
def skip_like(tiny_bundle: Path) -> Path:
    """The whole of a bundle, as a frozen program from elsewhere."""
    return tiny_bundle / "full.pdmodel"
