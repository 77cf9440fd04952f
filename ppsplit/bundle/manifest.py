"""The manifest: what the two halves need to know, as values.

Nothing is guessed from a file's name or a tensor's shape; it all stands here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Tuple

import numpy as np

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

    def bytes_per_image(self, float_bits: int = 32) -> int:
        """Its size before compression, floats in `float_bits` bits; anything else goes as it is."""
        if self.dtype == "float32":
            return (self.elements_per_image * float_bits + 7) // 8
        return self.elements_per_image * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class ProgramFiles:
    """One half (or the whole) of the network, for one runtime.

    Attributes:
        part: "head", "tail" or "full".
        runtime: that it was made for: "paddle" (which OpenVINO reads, too), "lite", "onnx", or "passthrough" for a part
            with nothing to compute.
        target: "any", or what the file was compiled for: "x86", "arm".
        precision: "fp32"; "int8" and "int16" of the weights alone; "ptq-...", "qat" of weights and activations;
            "mixed" with bits of their own for each layer. See `bundle.precision`.
        files: role to path inside the bundle: "model" and "params", "nb", or "onnx"; where the weights are packed,
            "model" and "packed", or "packed_nb" and "packed".
        outputs: what the program returns, in its order. Optimisation may rename them; this order stays.
    """

    part: str
    runtime: str
    target: str = "any"
    precision: str = "fp32"
    files: Dict[str, str] = field(default_factory=dict)
    outputs: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Clip:
    """The range that an n-bit quantizer of one tensor covers; values outside saturate."""

    low: float
    high: float


@dataclass(frozen=True)
class Certificate:
    """What export measured when it ran cloud(edge(x)) against full(x).

    Attributes:
        images: how many real images were used, each alone and two of them as a batch where the batch is open.
        max_abs_error: largest |split - full| over all outputs.
        max_relative_error: the same divided by the largest |full| of that output.
        tolerance: the relative error that was allowed; null where the error is only reported.
        runtime, target, precision: the head's.
        tail_runtime: the tail's; a Paddle Lite tail is for the head's target, too.
    """

    runtime: str
    target: str
    precision: str
    images: int
    max_abs_error: float
    max_relative_error: float
    tolerance: Optional[float]
    tail_runtime: str = "paddle"


@dataclass(frozen=True)
class CurvePoint:
    """What one quality of the learned codec costs and keeps, as means over images.

    Attributes:
        quality: 1 to 100.
        coded_bytes: of an image's tensors, without the message around them.
        score_kl: `metrics.score_kl` in nats; null for families whose scores are not known.
        ap: null where there were no labels.
    """

    quality: int
    coded_bytes: float
    score_kl: Optional[float] = None
    ap: Optional[float] = None


@dataclass(frozen=True)
class LearnedCoding:
    """What the encoding "feature" needs.

    Attributes:
        tables: path inside the bundle, see `codec.tables`.
        version: of the tables' format.
        quality: the one that is used where none is wished for.
        images: how many photos the tables were learnt from.
        curve: on photos that were not among them.
        curve_images: how many.
        ap_unsplit: on the same photos, nothing rounded; null where there were no labels.
    """

    tables: str
    version: int
    quality: int
    images: int
    curve: Tuple[CurvePoint, ...] = ()
    curve_images: int = 0
    ap_unsplit: Optional[float] = None


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
        learned: of the learned codec; null before calibration, and then not written.
    """

    name: str
    tensors: Tuple[TensorSpec, ...]
    programs: Tuple[ProgramFiles, ...]
    clips: Dict[str, Dict[str, Clip]]
    edge_macs_share: float
    edge_params_share: float
    certificates: Tuple[Certificate, ...] = ()
    learned: Optional[LearnedCoding] = None


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
        for cut in values["cuts"]:
            if cut["learned"] is None:  # as bundles were before there was such a thing: their fingerprints stay right
                del cut["learned"]
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
            body["full"] = tuple(_program(p) for p in body["full"])
            return cls(**body)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(f"{MANIFEST} is damaged ({error!r}); export the bundle again") from error


def _tensor(values: Dict[str, Any]) -> TensorSpec:
    return TensorSpec(str(values["name"]), tuple(int(s) for s in values["shape"]), str(values["dtype"]))


def _program(values: Dict[str, Any]) -> ProgramFiles:
    return ProgramFiles(**{**values, "outputs": tuple(values["outputs"])})


def _cut(values: Dict[str, Any]) -> Cut:
    return Cut(
        **{
            **values,
            "tensors": tuple(_tensor(t) for t in values["tensors"]),
            "programs": tuple(_program(p) for p in values["programs"]),
            "clips": {
                bits: {name: Clip(**clip) for name, clip in ranges.items()} for bits, ranges in values["clips"].items()
            },
            "certificates": tuple(Certificate(**c) for c in values["certificates"]),
            "learned": _learned(values.get("learned")),
        }
    )


def _learned(values: Optional[Dict[str, Any]]) -> Optional[LearnedCoding]:
    if values is None:
        return None
    return LearnedCoding(**{**values, "curve": tuple(CurvePoint(**point) for point in values["curve"])})
