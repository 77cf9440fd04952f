"""A result as what the edge gets to read."""

from __future__ import annotations

from typing import Any, Dict

from ppsplit.bundle import Manifest
from ppsplit.cloud.result import Result
from ppsplit.codec import FeatureCodec
from ppsplit.wire import TensorMessage, WireTensor, pack

RAW_ENCODING = "fp32"


def to_json(result: Result, manifest: Manifest) -> Dict[str, Any]:
    """The JSON answer of wire/FORMAT.md section 6; for results with detections or classes."""
    key, records = "detections", [found.to_records() for found in result.detections or ()]
    if result.classifications is not None:
        key, records = "classifications", [found.to_records() for found in result.classifications]
    return {"bundle": manifest.fingerprint, "cut": result.cut, key: records, "times_ms": result.times_ms}


def to_frame(result: Result, manifest: Manifest) -> bytes:
    """A tensors message; for results with raw outputs, which go lossless.

    Raises:
        CodecError: the outputs are not as the manifest says.
    """
    assert result.outputs is not None
    encoded = FeatureCodec(manifest.outputs, RAW_ENCODING, {}).encode(result.outputs)
    tensors = tuple(WireTensor(*tensor) for tensor in encoded)
    return pack(TensorMessage(manifest.fingerprint, RAW_ENCODING, tensors, result.times_ms))
