"""The manifest: what it says comes back, and what is wrong is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import pytest

from ppsplit.bundle import (
    FULL,
    HEAD,
    TAIL,
    Bundle,
    Certificate,
    Clip,
    Cut,
    DecodeSpec,
    Manifest,
    ProgramFiles,
    TensorSpec,
    write_manifest,
)
from ppsplit.errors import BundleError
from ppsplit.files import sha256_of
from ppsplit.image import Preprocess


def manifest() -> Manifest:
    heads = (
        ProgramFiles(HEAD, "paddle", files={"model": "head.pdmodel"}),
        ProgramFiles(HEAD, "lite", "x86", "int8", {"nb": "head.nb"}),
        ProgramFiles(TAIL, "passthrough"),
    )
    cut = Cut(
        "pool4",
        (TensorSpec("x", (-1, 8, 4, 4), "float32"),),
        heads,
        {"8": {"x": Clip(-1.0, 2.5)}},
        0.25,
        0.5,
        (Certificate("lite", "x86", "int8", 2, 0.5, 0.01, None),),
    )
    return Manifest(
        "demo", "net", TensorSpec("image", (-1, 3, 8, 8), "float32"), (TensorSpec("y", (-1, 2), "float32"),),
        Preprocess((8, 8)), DecodeSpec("raw"), ("a", "b"), "int8", "ab" * 32, (cut,),
        (ProgramFiles(FULL, "paddle", files={"model": "full.pdmodel"}),), {"head.nb": ""},
    )  # fmt: skip


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    (tmp_path / "head.nb").write_bytes(b"program")
    made = manifest()
    made.files["head.nb"] = sha256_of(tmp_path / "head.nb")
    write_manifest(tmp_path, made)
    return Bundle.open(tmp_path)


def test_a_manifest_survives_the_disk(bundle: Bundle) -> None:
    again = Bundle.open(bundle.root)
    assert again.manifest == bundle.manifest
    assert again.manifest.cuts[0].clips["8"]["x"] == Clip(-1.0, 2.5)
    assert again.manifest.input.elements_per_image == 192


def test_the_head_is_in_the_bundles_precision_and_others_in_fp32(bundle: Bundle) -> None:
    cut = bundle.cut()
    assert bundle.program(cut, HEAD, "lite").files == {"nb": "head.nb"}
    assert bundle.program(cut, FULL, "paddle").part == FULL
    assert bundle.program(cut, TAIL, "paddle").runtime == "passthrough"
    with pytest.raises(BundleError, match="it has: paddle/any/fp32, lite/x86/int8"):
        bundle.program(cut, HEAD, "paddle")
    with pytest.raises(BundleError, match="lite/arm/int8"):
        bundle.program(cut, HEAD, "lite", target="arm")
    with pytest.raises(BundleError, match="it has: pool4"):
        bundle.cut("pool5")


@pytest.mark.parametrize("name", ["gone.nb", "../outside", "/etc/passwd"])
def test_only_listed_files_are_handed_out(bundle: Bundle, name: str) -> None:
    with pytest.raises(BundleError, match="not a file of the bundle"):
        bundle.path(name)


def test_a_damaged_and_a_lost_file_are_named(bundle: Bundle) -> None:
    assert bundle.path("head.nb").read_bytes() == b"program"
    (bundle.root / "head.nb").write_bytes(b"Program")
    with pytest.raises(BundleError, match="damaged"):
        bundle.path("head.nb")
    (bundle.root / "head.nb").unlink()
    with pytest.raises(BundleError, match="lacks head.nb"):
        bundle.path("head.nb")


def without(key: str) -> Callable[[dict], Any]:
    return lambda values: values.pop(key)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda v: v.update(format="zip"), "not a bundle"),
        (lambda v: v.update(format_version=99), "version 99"),
        (lambda v: v.update(name="other"), "altered"),
        (lambda v: v.update(surprise=1), "damaged"),
        (lambda v: v.update(cuts=[{}]), "damaged"),
        (lambda v: v.update(input=None), "damaged"),
        (lambda v: v["preprocess"].update(resize=7, zoom=1), "damaged"),
        (without("outputs"), "damaged"),
        (without("fingerprint"), "altered"),
    ],
)
def test_a_spoilt_manifest_is_refused(bundle: Bundle, spoil: Callable[[dict], Any], message: str) -> None:
    path = bundle.root / "manifest.json"
    values = json.loads(path.read_text())
    spoil(values)
    path.write_text(json.dumps(values))
    with pytest.raises(BundleError, match=message):
        Bundle.open(bundle.root)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"x"'])
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError):
        Bundle.open(tmp_path)


def test_no_bundle_names_the_tool_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="tools/export_split.py"):
        Bundle.open(tmp_path / "gone")
