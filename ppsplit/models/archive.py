"""An .npz of plain arrays and one JSON header, written aside and renamed. Nothing in it is ever executed."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, Dict, Mapping, Tuple

import numpy as np

from ppsplit.errors import WeightsError

HEADER = "__header__"  # uint8 array: UTF-8 JSON


def write_archive(path: Path, kind: str, version: int, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Write `arrays` and `header` as an archive of this kind and version."""
    text = json.dumps({"format": kind, "format_version": version, **header})
    partial = path.with_name(path.name + ".partial")  # one name, so that a killed save leaves one file
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(partial, "wb") as stream:  # a stream, because savez would add .npz to a name
        np.savez(stream, **arrays, **{HEADER: np.frombuffer(text.encode(), np.uint8)})
    os.replace(partial, path)


def read_archive(path: Path, kind: str, version: int) -> Tuple[Dict[str, Any], Dict[str, np.ndarray]]:
    """Header and arrays of what `write_archive` wrote.

    Raises:
        WeightsError: cannot be read, damaged, of another kind or version.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}; give a {kind} file") from error
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(f"{path} is damaged or not an .npz of plain arrays ({error})") from error
    try:
        header = json.loads(arrays.pop(HEADER).tobytes().decode())
    except (KeyError, ValueError):
        header = {}
    if not isinstance(header, dict) or header.get("format") != kind:
        raise WeightsError(f"{path} is an .npz but not a {kind}; give a file that ppsplit wrote")
    if header.get("format_version") != version:
        raise WeightsError(
            f"{path} is a {kind} of version {header.get('format_version')}, this ppsplit reads {version}"
        )
    return header, arrays
