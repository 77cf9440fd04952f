"""A `.nb` is refused by us before Paddle Lite can end the process on it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Callable, Dict

import pytest

from ppsplit.errors import InferenceRuntimeError
from ppsplit.runtime.nb import META_VERSION, PREFIX, check_nb, read_nb, release


def edited(source: Path, folder: Path, edit: Callable[[bytes], bytes]) -> Path:
    path = folder / "edited.nb"
    path.write_bytes(edit(source.read_bytes()))
    return path


def made_by(version: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data[:2] + version.ljust(16, b"\0") + data[18:]


@pytest.mark.parametrize("target", ["x86", "arm"])
def test_a_nb_says_who_made_it_for_what(target: str, nb_files: Dict[str, Path]) -> None:
    nb = read_nb(nb_files[target])
    assert (nb.version, nb.targets, nb.parameters) == ("v2.13-rc", {target}, 8)
    assert check_nb(nb_files[target], target, "2.13rc0") == nb
    kinds = [kernel.split("/")[0] for kernel in nb.kernels]
    assert (kinds[0], kinds[-1]) == ("feed", "fetch") and "conv2d" in kinds


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda data: b"", "incomplete or damaged .it is empty"),
        (lambda data: data[:20], "it has 20 bytes"),
        (lambda data: bytes(1000), "no .nb of format 2"),
        (lambda data: b"\x01" + data[1:], "no .nb of format 2"),
        (lambda data: b"PK\x03\x04" + data[4:], "no .nb of format 2"),
        (made_by(b""), "no .nb of format 2"),
        (lambda data: data[:1000], "its program should have"),
        (lambda data: data[:18] + struct.pack("<Q", 2**63) + data[26:], "its program should have"),
        (lambda data: data[:-1], "should end at byte"),
        (lambda data: data + b"\0", "should end at byte"),
        (lambda data: data[:-1200], "ends within its parameters|should end at byte"),
        (lambda data: data[:26] + b"\xff" * 200 + data[226:], "its program cannot be read"),
        (lambda data: data[:18] + struct.pack("<Q", 8) + data[26:], "cannot be read|unknown header"),
    ],
    ids=[
        *(
            "empty",
            "shorter than its prefix",
            "zeros",
            "older format",
            "a zip file",
            "no version",
            "within the program",
        ),
        *("a size beyond any file", "one byte short", "one byte long", "within the parameters", "garbage"),
        "a wrong size",
    ],
)
def test_a_damaged_nb_is_refused(
    edit: Callable[[bytes], bytes], message: str, nb_files: Dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(InferenceRuntimeError, match=message):
        read_nb(edited(nb_files["x86"], tmp_path, edit))


def test_a_nb_cut_short_anywhere_is_refused(nb_files: Dict[str, Path], tmp_path: Path) -> None:
    whole = nb_files["arm"].read_bytes()
    for size in [*range(PREFIX.size + 40), *range(100, len(whole), 997)]:
        with pytest.raises(InferenceRuntimeError):
            read_nb(edited(nb_files["arm"], tmp_path, lambda data, size=size: data[:size]))


def test_any_flipped_byte_of_the_program_is_read_or_refused_but_nothing_else(
    nb_files: Dict[str, Path], tmp_path: Path
) -> None:
    program = struct.unpack_from("<Q", nb_files["x86"].read_bytes(), 18)[0]
    for place in range(PREFIX.size, PREFIX.size + program, 61):
        path = edited(nb_files["x86"], tmp_path, lambda d, at=place: d[:at] + bytes([d[at] ^ 0xFF]) + d[at + 1 :])
        try:
            read_nb(path)
        except InferenceRuntimeError:
            pass


def test_another_target_or_version_is_refused(nb_files: Dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InferenceRuntimeError, match="made for arm, this machine is x86.*--nb x86"):
        check_nb(nb_files["arm"], "x86", "v2.13-rc")
    older = edited(nb_files["x86"], tmp_path, made_by(b"v2.10.0"))
    with pytest.raises(InferenceRuntimeError, match="made by Paddle Lite v2.10.0, installed is 2.13rc0"):
        check_nb(older, "x86", "2.13rc0")
    assert check_nb(older, "x86", "").version == "v2.10.0"  # nothing to compare with
    branch = edited(nb_files["x86"], tmp_path, made_by(b"develop:1a2b3c4d"))
    assert check_nb(branch, "x86", "v2.13-rc").version == "develop:1a2b3c4d"


def test_a_missing_nb_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InferenceRuntimeError, match="cannot be read"):
        read_nb(tmp_path / "none.nb")


@pytest.mark.parametrize(
    ("version", "expected"),
    [("", None), ("develop:1a2b", None), ("v2.13-rc", (2, 13)), ("2.13rc0", (2, 13)), ("2.9.1", (2, 9))],
)
def test_release(version: str, expected: object) -> None:
    assert release(version) == expected


def test_the_format_that_paddle_lite_writes_is_the_one_we_read(nb_files: Dict[str, Path]) -> None:
    assert PREFIX.unpack_from(nb_files["x86"].read_bytes())[0] == META_VERSION
