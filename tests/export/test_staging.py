"""Replacing a bundle: all or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppsplit.errors import ConfigError
from ppsplit.export.staging import replaced_folder


def bundle(folder: Path, content: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(content)


def content(folder: Path) -> str:
    return (folder / "manifest.json").read_text()


@pytest.mark.parametrize("before", ["nothing", "empty", "bundle", "link"])
def test_the_new_one_takes_the_old_ones_place(tmp_path: Path, before: str) -> None:
    output = tmp_path / "made" / "b"
    if before == "empty":
        output.mkdir(parents=True)
    elif before == "bundle":
        bundle(output, "old")
    elif before == "link":
        bundle(tmp_path / "elsewhere", "old")
        output.parent.mkdir()
        output.symlink_to(tmp_path / "elsewhere")
    with replaced_folder(output) as stage:
        bundle(stage, "new")
    assert content(output) == "new"
    assert output.is_symlink() == (before == "link")
    assert [p.name for p in output.parent.iterdir()] == ["b"]


def test_the_current_folder_can_be_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with replaced_folder(Path()) as stage:
        bundle(stage, "new")
    assert content(tmp_path / "here") == "new"


def test_an_error_leaves_the_old_one(tmp_path: Path) -> None:
    bundle(tmp_path / "b", "old")
    with pytest.raises(ZeroDivisionError), replaced_folder(tmp_path / "b") as stage:
        bundle(stage, "new")
        raise ZeroDivisionError
    assert content(tmp_path / "b") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_failing_last_step_brings_the_old_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle(tmp_path / "b", "old")
    rename = Path.rename

    def no_space(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", no_space)
    with pytest.raises(OSError, match="No space"), replaced_folder(tmp_path / "b") as stage:
        bundle(stage, "new")
    assert content(tmp_path / "b") == "old"


@pytest.mark.parametrize("moved", [False, True], ids=["before the new one is moved", "right behind the old one's move"])
def test_ctrl_c_in_the_last_step_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool) -> None:
    bundle(tmp_path / "b", "old")
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if moved and self.name == "b":
            rename(self, target)
        if self.name == ("b" if moved else "new"):
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), replaced_folder(tmp_path / "b") as stage:
        bundle(stage, "new")
    assert content(tmp_path / "b") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_two_at_once_do_not_meet(tmp_path: Path) -> None:
    with replaced_folder(tmp_path / "b") as first:
        bundle(first, "first")
        with replaced_folder(tmp_path / "b") as second:
            bundle(second, "second")
        assert content(first) == "first"
    assert content(tmp_path / "b") == "first"


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_bundle_is_left_alone(tmp_path: Path, kind: str) -> None:
    if kind == "folder":
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "holiday.txt").write_text("precious")
    else:
        (tmp_path / "b").write_text("precious")
    with pytest.raises(ConfigError, match="not a bundle"), replaced_folder(tmp_path / "b"):
        pass
    assert "precious" in ((tmp_path / "b" / "holiday.txt") if kind == "folder" else tmp_path / "b").read_text()
