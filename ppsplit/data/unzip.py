"""Files out of a zip: hostile names refused, every file written aside and renamed, gone on with after a break."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from pathlib import Path
from typing import Callable, Dict, Mapping

from ppsplit.errors import DownloadError

Progress = Callable[[int, int], None]  # bytes so far, bytes in all
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)  # the last two: encrypted, odd


def list_members(archive: Path) -> Dict[str, int]:
    """The files in a zip, folders left out, with their unpacked sizes in bytes.

    Raises:
        DownloadError: damaged, or a name could lead out of the folder that it is unpacked to.
    """
    try:
        with zipfile.ZipFile(archive) as package:
            infos = package.infolist()
    except _DAMAGED as error:
        raise DownloadError(f"{archive} is damaged ({error}); delete it and run this again") from error
    for info in infos:
        if _leads_out(info):
            raise DownloadError(
                f"{archive} was refused: its member {info.filename[:100]!r} could be written outside the folder it is "
                "unpacked to; nothing of it was. Delete it and get it from its author"
            )
    return {info.filename: info.file_size for info in infos if not info.is_dir()}


def unpack(archive: Path, targets: Mapping[str, Path], progress: Progress = lambda done, total: None) -> None:
    """Write members of a zip to files; one that is there in its full size is left as it is.

    Args:
        targets: member's name to the file; all of `list_members`.

    Raises:
        DownloadError: as `list_members`, or the disc has too little space; nothing was written then.
    """
    sizes = list_members(archive)
    missing = {member: path for member, path in targets.items() if not _is_whole(path, sizes[member])}
    total = sum(sizes[member] for member in targets)
    done = total - sum(sizes[member] for member in missing)
    for folder in sorted({path.parent for path in missing.values()}):
        folder.mkdir(parents=True, exist_ok=True)
        check_space(folder, total - done, f"unpacking {archive.name}")
    try:
        with zipfile.ZipFile(archive) as package:
            for member, path in missing.items():
                partial = path.with_name(path.name + ".partial")
                with package.open(member) as source, open(partial, "wb") as stream:
                    shutil.copyfileobj(source, stream, 1 << 20)
                os.replace(partial, path)
                done += sizes[member]
                progress(done, total)
    except _DAMAGED as error:
        raise DownloadError(f"{archive} is damaged ({error}); delete it and run this again") from error


def check_space(folder: Path, needed_bytes: int, purpose: str) -> None:
    """Raises DownloadError where `folder`, which exists, has less free space than that."""
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise DownloadError(
            f"{purpose} needs {needed_bytes / 1e9:.1f} GB in {folder}, {free / 1e9:.1f} GB are free; "
            "make space, or choose another folder"
        )


def _is_whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _leads_out(info: zipfile.ZipInfo) -> bool:
    parts = info.filename.split("/")
    is_link = stat.S_ISLNK(info.external_attr >> 16)  # what is written through a link lands elsewhere
    return is_link or parts[0] == "" or ".." in parts or "\\" in info.filename or ":" in parts[0]
