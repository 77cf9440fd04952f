"""A bundle on disk: a folder with `manifest.json` and the files it names, each with its sha256."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Optional

from ppsplit.bundle.manifest import FULL, HEAD, MANIFEST, Cut, Manifest, ProgramFiles
from ppsplit.errors import BundleError
from ppsplit.files import sha256_of, write_json_atomically


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk. Open it with `Bundle.open`."""

    root: Path
    manifest: Manifest

    @classmethod
    def open(cls, root: Path) -> "Bundle":
        """Read and check the manifest; the files are checked when they are asked for.

        Raises:
            BundleError: no manifest there, or it is damaged, altered or of another version.
        """
        root = Path(root)
        try:
            values = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        except OSError as error:
            raise BundleError(
                f"no bundle at {root} ({MANIFEST}: {error.strerror}); make one with `python tools/export_split.py`"
            ) from error
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{root / MANIFEST} is not JSON ({error}); export the bundle again") from error
        manifest = Manifest.from_json(values)
        if manifest.computed_fingerprint() != manifest.fingerprint:
            raise BundleError(f"{root / MANIFEST} was altered after export (fingerprint differs); export it again")
        return cls(root, manifest)

    def cut(self, name: Optional[str] = None) -> Cut:
        """The cut of that name; the first when none is given. Raises BundleError."""
        for cut in self.manifest.cuts:
            if name is None or cut.name == name:
                return cut
        names = ", ".join(c.name for c in self.manifest.cuts)
        raise BundleError(f"the bundle has no cut {name!r}; it has: {names}")

    def program(
        self, cut: Cut, part: str, runtime: str, precision: Optional[str] = None, target: Optional[str] = None
    ) -> ProgramFiles:
        """The program for this part, runtime and precision (the bundle's default for the head, fp32 else).

        Raises:
            BundleError: the bundle does not hold it; the message lists what it does hold.
        """
        precision = precision or (self.manifest.precision if part == HEAD else "fp32")
        programs = self.manifest.full if part == FULL else cut.programs
        for program in programs:
            if program.part != part:
                continue
            if program.runtime == "passthrough":
                return program
            if (program.runtime, program.precision) == (runtime, precision) and target in (None, program.target):
                return program
        held = ", ".join(f"{p.runtime}/{p.target}/{p.precision}" for p in programs if p.part == part) or "none"
        wanted = "/".join(w for w in (runtime, target, precision) if w)
        raise BundleError(f"the bundle has no {part} for {wanted} at cut {cut.name!r}; it has: {held}")

    def path(self, relative: str) -> Path:
        """A file of the bundle, after checking its sha256.

        Raises:
            BundleError: not listed in the manifest, missing, or its hash is wrong.
        """
        expected = self.manifest.files.get(relative)
        parts = PurePosixPath(relative).parts
        if expected is None or ".." in parts or PurePosixPath(relative).is_absolute():
            raise BundleError(f"{relative!r} is not a file of the bundle {self.root}")
        path = self.root.joinpath(*parts)
        try:
            actual = sha256_of(path)
        except OSError as error:
            raise BundleError(f"the bundle lacks {relative} ({error.strerror}); copy or export it again") from error
        if actual != expected:
            raise BundleError(f"{path} is damaged: sha256 {actual[:12]}…, expected {expected[:12]}…; copy it again")
        return path


def write_manifest(root: Path, manifest: Manifest) -> Manifest:
    """Write `manifest.json` with its fingerprint, aside and renamed; returns it with the fingerprint."""
    sealed = dataclasses.replace(manifest, fingerprint=manifest.computed_fingerprint())
    write_json_atomically(root / MANIFEST, sealed.to_json())
    return sealed
