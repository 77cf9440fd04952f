"""`ppsplit download-coco`: COCO to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ppsplit.cli.options import Names
from ppsplit.data.coco_download import CocoPlan
from ppsplit.data.coco_download import download_coco as fetch


def download_coco(
    year: Literal[2014, 2017] = 2017,
    splits: Names = ["train", "val"],  # noqa: B006  only read
    root: Path = Path("dataset/coco"),
    keep_archives: bool = False,
) -> None:
    """Fetch and unpack COCO's images and boxes, checked against their sha256; broken off, it goes on where it was.

    Args:
        year: The edition, 2014 or 2017.
        splits: Which of train and val.
        root: Folder to write, as the configs expect it.
        keep_archives: Keep the zips beside what was unpacked from them.
    """
    done = fetch(CocoPlan(root, year, tuple(splits), keep_archives), print)
    sets = [f"{split}{year}" for split in splits]
    print(
        f"{root}: {', '.join(sets)} {'are there' if done else 'were there already'}; "
        f"`ppsplit train --root {root} --train-split {sets[0]} --val-split {sets[-1]}` takes them"
    )
