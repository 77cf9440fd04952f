"""The deployable: a folder with `manifest.json` and the files it names, each with its sha256.

The manifest says everything the two halves need. Nothing is guessed from a file's name or a tensor's shape.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Dict, Optional, Tuple

from ppsplit.errors import BundleError
from ppsplit.image import Preprocess

FORMAT = "ppsplit-bundle"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"

HEAD, TAIL, FULL = "head", "tail", "full"


@dataclass(frozen=True)
class TensorSpec:
    """A tensor that enters or leaves a program.

    Attributes:
        name: its name in the program.
        shape: sizes; -1 for the batch.
        dtype: numpy's name, such as "float32".
    """

    name: str
    shape: Tuple[int, ...]
    dtype: str

    @property
    def elements_per_image(self) -> int:
        """Number of elements for a batch of one."""
        count = 1
        for size in self.shape:
            count *= max(size, 1)
        return count


@dataclass(frozen=True)
class ProgramFiles:
    """One half (or the whole) of the network, for one runtime.

    Attributes:
        part: "head", "tail" or "full".
        runtime: "paddle", "lite", or "passthrough" for a part with nothing to compute.
        target: "any", or what the file was compiled for: "x86", "arm".
        precision: of the weights: "fp32", "int8", "int16".
        files: role ("model", "params", "nb") to path inside the bundle.
    """

    part: str
    runtime: str
    target: str = "any"
    precision: str = "fp32"
    files: Dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Clip:
    """The range that an n-bit quantizer of one tensor covers; values outside saturate."""

    low: float
    high: float


@dataclass(frozen=True)
class Certificate:
    """What export measured when it ran cloud(edge(x)) against full(x).

    Attributes:
        images: how many real images were used.
        max_abs_error: largest |split - full| over all outputs.
        max_relative_error: the same divided by the largest |full| of that output.
        tolerance: the relative error that was allowed; null where the error is only reported.
        runtime, target, precision: the head's.
    """

    runtime: str
    target: str
    precision: str
    images: int
    max_abs_error: float
    max_relative_error: float
    tolerance: Optional[float]


@dataclass(frozen=True)
class Cut:
    """One way to divide the network.

    Attributes:
        name: as given to --cut.
        tensors: what crosses, in the order it is sent.
        programs: heads and tails.
        clips: bits ("8", "4") to tensor name to range.
        edge_macs_share, edge_params_share: of the whole network, 0..1.
        certificates: one for each head that export could run.
    """

    name: str
    tensors: Tuple[TensorSpec, ...]
    programs: Tuple[ProgramFiles, ...]
    clips: Dict[str, Dict[str, Clip]]
    edge_macs_share: float
    edge_params_share: float
    certificates: Tuple[Certificate, ...] = ()


@dataclass(frozen=True)
class DecodeSpec:
    """How raw outputs become detections: a family's name and its parameters."""

    family: str
    params: Dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """The contents of manifest.json.

    Attributes:
        name: the bundle's name.
        model: the network's name.
        input: the network's input.
        outputs: the network's raw outputs.
        precision: the head's default precision.
        weights_sha256: of the weights that were frozen, "" where unknown.
        full: the unsplit network.
        files: path inside the bundle to sha256.
        fingerprint: sha256 over all of the above; the two halves compare it.
    """

    name: str
    model: str
    input: TensorSpec
    outputs: Tuple[TensorSpec, ...]
    preprocess: Preprocess
    decode: DecodeSpec
    class_names: Tuple[str, ...]
    precision: str
    weights_sha256: str
    cuts: Tuple[Cut, ...]
    full: Tuple[ProgramFiles, ...]
    files: Dict[str, str]
    fingerprint: str = ""

    def to_json(self) -> Dict[str, Any]:
        """JSON-ready dict, with format and version."""
        values = dataclasses.asdict(self)
        values["preprocess"] = self.preprocess.to_json()
        return {"format": FORMAT, "format_version": FORMAT_VERSION, **values}

    def computed_fingerprint(self) -> str:
        """sha256, hex, of the manifest's canonical JSON without its fingerprint."""
        values = {k: v for k, v in self.to_json().items() if k != "fingerprint"}
        return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @classmethod
    def from_json(cls, values: Dict[str, Any]) -> "Manifest":
        """Inverse of `to_json`.

        Raises:
            BundleError: not a manifest, another version, or a field is missing or of the wrong kind.
        """
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise BundleError(f"not a bundle: {MANIFEST} does not say format {FORMAT!r}")
        version = values.get("format_version")
        if version != FORMAT_VERSION:
            raise BundleError(
                f"the bundle has format version {version}, this ppsplit reads {FORMAT_VERSION}; export it again"
            )
        body = {k: v for k, v in values.items() if k not in ("format", "format_version")}
        try:
            body["input"] = _tensor(body["input"])
            body["outputs"] = tuple(_tensor(t) for t in body["outputs"])
            body["preprocess"] = Preprocess.from_json(body["preprocess"])
            body["decode"] = DecodeSpec(**body["decode"])
            body["class_names"] = tuple(body["class_names"])
            body["cuts"] = tuple(_cut(c) for c in body["cuts"])
            body["full"] = tuple(ProgramFiles(**p) for p in body["full"])
            return cls(**body)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(f"{MANIFEST} is damaged ({error!r}); export the bundle again") from error


def _tensor(values: Dict[str, Any]) -> TensorSpec:
    return TensorSpec(str(values["name"]), tuple(int(s) for s in values["shape"]), str(values["dtype"]))


def _cut(values: Dict[str, Any]) -> Cut:
    return Cut(
        **{
            **values,
            "tensors": tuple(_tensor(t) for t in values["tensors"]),
            "programs": tuple(ProgramFiles(**p) for p in values["programs"]),
            "clips": {
                bits: {name: Clip(**clip) for name, clip in ranges.items()} for bits, ranges in values["clips"].items()
            },
            "certificates": tuple(Certificate(**c) for c in values["certificates"]),
        }
    )


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
        except ValueError as error:
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


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's bytes. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def write_manifest(root: Path, manifest: Manifest) -> Manifest:
    """Write `manifest.json` with its fingerprint, aside and renamed; returns it with the fingerprint."""
    sealed = dataclasses.replace(manifest, fingerprint=manifest.computed_fingerprint())
    partial = root / (MANIFEST + ".partial")
    partial.write_text(json.dumps(sealed.to_json(), indent=1), encoding="utf-8")
    os.replace(partial, root / MANIFEST)
    return sealed
