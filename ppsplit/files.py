"""Files: hashed, and written aside and renamed, so that nobody ever sees half of one."""

from __future__ import annotations

import hashlib
import io
import json
import os
import uuid
from pathlib import Path
from typing import Any


def write_bytes_atomically(path: Path, data: bytes) -> Path:
    """Write `data` to `path`, making its folder where there is none; an older file stays until all is written.

    Raises:
        OSError: as for any write; nothing is left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        if partial.exists():
            partial.unlink()
    return path


def write_json_atomically(path: Path, values: Any) -> Path:
    """`write_bytes_atomically` of `values` as indented JSON. Raises TypeError, ValueError for what JSON cannot hold."""
    return write_bytes_atomically(path, json.dumps(values, indent=1, allow_nan=False).encode("utf-8"))


def write_figure_atomically(path: Path, figure: Any, dpi: int) -> Path:
    """`write_bytes_atomically` of a matplotlib figure; the format is that of `path`'s suffix. Raises OSError."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format=Path(path).suffix[1:], dpi=dpi)
    return write_bytes_atomically(path, drawn.getvalue())


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's bytes. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
