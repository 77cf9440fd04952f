"""Replacing a folder whole: it is filled beside, and takes the old one's place only when all went well."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Iterator

from ppsplit.bundle import MANIFEST
from ppsplit.errors import ConfigError


@contextlib.contextmanager
def replaced_folder(output: Path) -> Iterator[Path]:
    """A scratch folder beside `output`; when the block ends without an error it becomes `output`.

    An older bundle stays until then, and comes back if the last step fails. Several processes may do this at
    once: each has a scratch folder of its own, the last one to end wins. A symbolic link is followed.

    Raises:
        ConfigError: `output` exists and is not a bundle.
        OSError: the folder cannot be written.
    """
    output = Path(output).resolve()
    if output.exists() and not (output / MANIFEST).is_file() and (output.is_file() or any(output.iterdir())):
        raise ConfigError(f"{output} exists and is not a bundle; choose another --output or remove it")
    output.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{output.name}.", suffix=".partial", dir=output.parent))
    try:
        (scratch / "new").mkdir()
        yield scratch / "new"
        _swap(scratch / "new", output, scratch / "old")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def named(output: Path) -> Path:
    """`output`; absolute where it is "." or "..", which have no name, and mean another folder once it is replaced."""
    return output.resolve() if output.name in ("", "..") else output


def _swap(new: Path, output: Path, old: Path) -> None:
    try:
        if output.exists():
            output.rename(old)
        new.rename(output)
    except BaseException:  # Ctrl-C, too: the scratch folder, with the old one in it, is removed next
        if old.exists() and not output.exists():
            old.rename(output)
        raise
