"""The deployable, `freezed/<name>/`: a manifest and the programs of both halves."""

from __future__ import annotations

from ppsplit.bundle.folder import Bundle, write_manifest
from ppsplit.bundle.manifest import (
    FORMAT_VERSION,
    FULL,
    HEAD,
    MANIFEST,
    TAIL,
    Certificate,
    Clip,
    CurvePoint,
    Cut,
    DecodeSpec,
    LearnedCoding,
    Manifest,
    ProgramFiles,
    TensorSpec,
)

__all__ = [
    "FORMAT_VERSION",
    "FULL",
    "HEAD",
    "MANIFEST",
    "TAIL",
    "Bundle",
    "Certificate",
    "Clip",
    "CurvePoint",
    "Cut",
    "DecodeSpec",
    "LearnedCoding",
    "Manifest",
    "ProgramFiles",
    "TensorSpec",
    "write_manifest",
]
