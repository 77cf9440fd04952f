"""Folders of images by class, and how they are matched with a network's classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppsplit.data.class_folder import ClassFolder
from ppsplit.errors import DataError

NAMES = ("cat", "dog", "cup (red)")


def folder(root: Path, **images: int) -> Path:
    for name, count in images.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number}.jpg").touch()
    return root


@pytest.mark.parametrize(
    ("folders", "ids", "by"),
    [
        ({"dog": 1, "cat": 2}, [0, 0, 1], "names"),
        ({"cup (red)": 1}, [2], "names"),
        ({"2": 1, "0": 1}, [0, 2], "numbers"),
        ({"n03": 1, "n01": 2, "n02": 1}, [0, 0, 1, 2], "order"),
    ],
)
def test_subfolders_become_classes(tmp_path: Path, folders: dict, ids: list, by: str) -> None:
    found = ClassFolder.open(folder(tmp_path, **folders), NAMES, 3)
    assert ([image.class_id for image in found.images], found.matched_by) == (ids, by)


def test_files_and_hidden_folders_beside_them_do_not_matter(tmp_path: Path) -> None:
    folder(tmp_path, cat=1, **{".cache": 1})
    (tmp_path / "labels.txt").touch()
    assert len(ClassFolder.open(tmp_path, NAMES, 3).images) == 1


@pytest.mark.parametrize(
    ("folders", "says"),
    [
        ({}, "has no subfolders"),
        ({"cat": 0}, "no image in"),
        ({"cat": 1, "bird": 1}, "1 of 2 subfolders .* no classes of the network .bird."),
        ({"3": 1}, "by their numbers 0 to 2"),
        ({f"n{i}": 1 for i in range(9)}, "n0, n1, n2, n3 and 5 more"),
    ],
)
def test_what_cannot_be_matched_is_said(tmp_path: Path, folders: dict, says: str) -> None:
    with pytest.raises(DataError, match=says):
        ClassFolder.open(folder(tmp_path, **folders), NAMES, 3)
    with pytest.raises(DataError, match="does not exist"):
        ClassFolder.open(tmp_path / "gone", NAMES, 3)


def test_a_few_are_taken_from_all_classes(tmp_path: Path) -> None:
    whole = ClassFolder.open(folder(tmp_path, cat=10, dog=10), NAMES, 3)
    assert [image.class_id for image in whole.first(4).images] == [0, 0, 1, 1]
    assert whole.first(99).images == whole.images
