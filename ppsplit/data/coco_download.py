"""COCO 2014 and 2017 from its own server, unpacked as `find_split` looks for it.

    ROOT/annotations/instances_train2017.json, ROOT/train2017/*.jpg, and so on

An image folder appears under its name only when all images are in it, so what is there is whole.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Sequence, Tuple

from ppsplit.data.unzip import check_space, list_members, unpack
from ppsplit.errors import ConfigError, DataError, DownloadError
from ppsplit.zoo import ZooFile, fetch, partial_of
from ppsplit.zoo.byte_bar import byte_bar
from ppsplit.zoo.sources import HttpSource

SERVER = "http://images.cocodataset.org"  # plain http, as everybody names it; the hashes judge what comes
SPLITS = ("train", "val")
BLOCK = 4096  # bytes a file system rounds a file up to


@dataclass(frozen=True)
class CocoArchive:
    """A zip on COCO's server.

    Attributes:
        address: below the server's.
        bytes: its size.
        sha256: of the zip.
        images: how many it holds; 0 for annotations.
    """

    address: str
    bytes: int
    sha256: str
    images: int = 0

    @property
    def file_name(self) -> str:
        """As it is called on disk."""
        return self.address.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The folder in it that holds everything: "train2017"."""
        return self.file_name[: -len(".zip")]

    @property
    def unpacked_bytes(self) -> int:
        """About how much it becomes: JPEGs do not shrink in a zip, of the annotations a part is unpacked."""
        return self.bytes + self.images * BLOCK // 2 if self.images else 2 * self.bytes


# Sizes and sha256 are those of tensorflow/datasets, url_checksums/coco.txt; numbers of images those of COCO's site.
ARCHIVES = (
    CocoArchive(
        "annotations/annotations_trainval2014.zip",
        252872794,
        "031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009",
    ),
    CocoArchive(
        "zips/train2014.zip", 13510573713, "ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775", 82783
    ),
    CocoArchive(
        "zips/val2014.zip", 6645013297, "fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0", 40504
    ),
    CocoArchive(
        "annotations/annotations_trainval2017.zip",
        252907541,
        "113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
    ),
    CocoArchive(
        "zips/train2017.zip", 19336861798, "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929", 118287
    ),
    CocoArchive(
        "zips/val2017.zip", 815585330, "4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05", 5000
    ),
)


@dataclass(frozen=True)
class CocoPlan:
    """What to fetch, and where to.

    Attributes:
        root: the data set's folder.
        year: 2014 or 2017.
        splits: of `SPLITS`.
        keep_archives: keep the zips, which are else removed when all of them is unpacked.
        server: the address that all archives' addresses follow.
        archives: all that there are.
    """

    root: Path
    year: int = 2017
    splits: Tuple[str, ...] = SPLITS
    keep_archives: bool = False
    server: str = SERVER
    archives: Tuple[CocoArchive, ...] = ARCHIVES

    def __post_init__(self) -> None:
        unknown = [split for split in self.splits if split not in SPLITS]
        if unknown or not self.splits:
            raise ConfigError(f"splits must be some of {', '.join(SPLITS)}, not {', '.join(unknown) or 'none'}")

    def archive(self, folder: str) -> CocoArchive:
        """The archive with that folder. Raises ConfigError."""
        for archive in self.archives:
            if archive.folder == folder:
                return archive
        raise ConfigError(f"COCO has no {folder}; choose the year 2014 or 2017")

    def instances(self, splits: Sequence[str]) -> Dict[str, Path]:
        """The annotations of splits: the zip's member to its file."""
        members = [f"annotations/instances_{split}{self.year}.json" for split in splits]
        return {member: Path(self.root) / member for member in members}


def download_coco(plan: CocoPlan, say: Callable[[str], None] = lambda line: None) -> List[str]:
    """Fetch and unpack what is missing. Broken off anywhere, the next call goes on from there.

    Args:
        say: hears of each archive that is done.

    Returns:
        the archives that were needed, by file name; none when all was there.

    Raises:
        ConfigError: no such year.
        DataError: an image folder is there that is not whole.
        DownloadError: the network, a wrong hash, a hostile archive, or too little space on the disc.
    """
    root = Path(plan.root)
    missing = missing_archives(plan)
    root.mkdir(parents=True, exist_ok=True)
    if missing:
        check_space(root, _peak_bytes(plan, missing), f"COCO's {', '.join(a.file_name for a in missing)}")
    for archive in missing:
        source = HttpSource(f"{plan.server}/{archive.address}")
        path = fetch(ZooFile(archive.folder, archive.file_name, "", archive.sha256, (source,)), root)
        if archive.images:
            _unpack_images(path, archive, root)
            used_up = True
        else:
            _unpack_members(path, plan.instances(plan.splits))
            used_up = all(file.is_file() for file in plan.instances(SPLITS).values())  # else another call wants it
        if used_up and not plan.keep_archives:
            path.unlink()
        say(f"{root}: {archive.folder} is there")
    return [archive.file_name for archive in missing]


def missing_archives(plan: CocoPlan) -> List[CocoArchive]:
    """Those whose content is not all there, the small one first. Raises ConfigError, DataError."""
    annotations = plan.archive(f"annotations_trainval{plan.year}")
    missing = [] if all(file.is_file() for file in plan.instances(plan.splits).values()) else [annotations]
    for split in SPLITS:
        if split in plan.splits:
            archive = plan.archive(f"{split}{plan.year}")
            if not _images_are_there(Path(plan.root) / archive.folder, archive.images):
                missing.append(archive)
    return missing


def _images_are_there(folder: Path, images: int) -> bool:
    if not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        found = sum(1 for _ in entries)
    if found < images:
        raise DataError(
            f"{folder} holds {found} of {images} images and was not unpacked by this program; "
            "move it away and run this again, or give another --root"
        )
    return True


def _peak_bytes(plan: CocoPlan, missing: Sequence[CocoArchive]) -> int:
    """The most that is on the disc at a time beyond what is there now: a zip goes before the next one comes."""
    held = peak = 0
    for archive in missing:
        path = Path(plan.root) / archive.file_name
        came = max((f.stat().st_size for f in (path, partial_of(path, HttpSource(""))) if f.is_file()), default=0)
        held += max(0, archive.bytes - came) + max(0, archive.unpacked_bytes - _unpacked_so_far(plan, archive))
        peak = max(peak, held)
        held -= 0 if plan.keep_archives else archive.bytes
    return peak


def _unpacked_so_far(plan: CocoPlan, archive: CocoArchive) -> int:
    folder = _aside(Path(plan.root), archive)
    if not folder.is_dir():
        return 0
    with os.scandir(folder) as entries:
        return sum(entry.stat().st_size + BLOCK // 2 for entry in entries)


def _aside(root: Path, archive: CocoArchive) -> Path:
    return root / f"{archive.folder}.partial"


def _unpack_images(path: Path, archive: CocoArchive, root: Path) -> None:
    """All images into a folder aside, which gets its name when it is whole."""
    members = list_members(path)
    strange = [m for m in members if m.count("/") != 1 or not m.startswith(f"{archive.folder}/")]
    if strange or len(members) != archive.images:
        raise DownloadError(
            f"{path} is not COCO's: expected {archive.images} images in {archive.folder}/, it has {len(members)} files"
            f"{f', one of them {strange[0][:100]!r}' if strange else ''}; delete it and run this again"
        )
    aside = _aside(root, archive)
    _unpack_members(path, {member: aside / member.rpartition("/")[2] for member in members})
    os.replace(aside, root / archive.folder)


def _unpack_members(path: Path, targets: Dict[str, Path]) -> None:
    absent = sorted(set(targets) - set(list_members(path)))
    if absent:
        raise DownloadError(f"{path} is not COCO's: it has no {', '.join(absent)}; delete it and run this again")
    with byte_bar(f"unpacking {path.name}") as progress:
        unpack(path, targets, progress)
