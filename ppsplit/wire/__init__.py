"""Messages to bytes and back. FORMAT.md here is the normative text. Knows nothing of what tensors mean."""

from __future__ import annotations

from ppsplit.wire.frame import FEATURES_TYPE, HEADER_BYTES, TENSORS_TYPE
from ppsplit.wire.message import FeatureMessage, Options, TensorMessage, WireTensor, pack, unpack

__all__ = [
    "FEATURES_TYPE",
    "HEADER_BYTES",
    "TENSORS_TYPE",
    "FeatureMessage",
    "Options",
    "TensorMessage",
    "WireTensor",
    "pack",
    "unpack",
]
