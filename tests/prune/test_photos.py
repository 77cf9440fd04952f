"""Photos to refit on and to measure sensitivity on: apart, mixed, and without those that cannot be read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import List

import numpy as np
import pytest

from ppsplit.cli import main
from ppsplit.data.image_folder import unlabelled_set
from ppsplit.errors import DataError
from ppsplit.image import Preprocess, read_image, to_input
from ppsplit.prune.photos import ProbePhotos, probe_photos, spread

from .conftest import SIDE, Command

PREPROCESS = Preprocess((SIDE, SIDE))


@pytest.fixture
def folder(photos: Path, tmp_path: Path) -> Path:
    """A copy of the twelve photos, to be spoilt."""
    return Path(shutil.copytree(photos, tmp_path / "photos"))


def positions(found: List[np.ndarray], folder: Path) -> List[int]:
    """Which of the folder's photos these are."""
    every = [to_input(read_image(path), PREPROCESS)[0] for path in sorted(folder.iterdir())]
    return [next(i for i, one in enumerate(every) if np.array_equal(one, array)) for array in found]


def probed(folder: Path, count: int) -> ProbePhotos:
    return probe_photos(unlabelled_set(folder), count, PREPROCESS)


def test_both_kinds_are_of_the_whole_set(photos: Path) -> None:
    found = probed(photos, 4)
    refit, sensed = positions(list(found.refit), photos), positions(list(found.sensed), photos)
    assert sorted(refit + sensed) == list(range(12)) and len(sensed) == 6
    assert max(refit) > min(sensed) and max(sensed) > min(refit)
    assert sensed == spread(range(12), 6)


@pytest.mark.parametrize(
    "spoil", [lambda path: path.write_bytes(b"no photo"), lambda path: path.write_bytes(path.read_bytes()[:500])]
)
def test_what_cannot_be_read_is_left_out_by_name(folder: Path, spoil) -> None:  # type: ignore[no-untyped-def]
    bad = sorted(folder.iterdir())[5]
    spoil(bad)
    data = unlabelled_set(folder)
    found = probe_photos(data, 40, PREPROCESS)
    assert len(found.refit) + len(found.sensed) == 11
    assert list(data.problems.counts().values()) == [1] and bad.name in data.problems.lines()[0]


def test_one_photo_is_for_both(folder: Path) -> None:
    for path in sorted(folder.iterdir())[1:]:
        path.write_bytes(b"")
    found = probed(folder, 4)
    assert len(found.refit) == len(found.sensed) == 1 and np.array_equal(found.refit[0], found.sensed[0])


def test_none_is_an_error(folder: Path) -> None:
    for path in folder.iterdir():
        path.write_bytes(b"no photo")
    with pytest.raises(DataError, match="none of the 12 photos .* can be read: 12 images cannot be read: .*--images"):
        probed(folder, 4)


def test_the_hash_is_of_contents_and_uses(folder: Path) -> None:
    same, fewer = probed(folder, 4).sha256, probed(folder, 1)
    assert same == probed(folder, 4).sha256 == probed(folder, 99).sha256  # all twelve
    first, second = sorted(folder.iterdir())[:2]
    shutil.copy(second, first)
    assert probed(folder, 4).sha256 != same
    assert len(fewer.sha256) == 64


def test_a_pruning_goes_on_without_a_bad_photo(
    words: Command, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = sorted(folder.iterdir())[0]
    bad.write_bytes(bad.read_bytes()[:300])
    assert main(["train-prune", *words(tmp_path / "run", "--images", str(folder), "--ratios", "conv7=0.5")]) == 0
    assert f"1 images are truncated: {bad.name}" in capsys.readouterr().err
