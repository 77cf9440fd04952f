"""Feature tensors to bytes and back: quantize, pack, compress. Knows nothing of how the bytes travel."""

from __future__ import annotations

from ppsplit.codec.choose import Codec
from ppsplit.codec.clip import calibrate_clip
from ppsplit.codec.feature import DEFAULT_LEVEL, ENCODINGS, FEATURE, MAX_BATCH, EncodedTensor, FeatureCodec

__all__ = [
    "DEFAULT_LEVEL",
    "ENCODINGS",
    "FEATURE",
    "MAX_BATCH",
    "Codec",
    "EncodedTensor",
    "FeatureCodec",
    "calibrate_clip",
]
