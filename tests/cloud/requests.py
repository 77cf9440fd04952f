"""Requests for the tiny bundle, right and wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ppsplit.bundle import Bundle
from ppsplit.codec import FeatureCodec
from ppsplit.image import encode_jpeg
from ppsplit.wire import FeatureMessage, Options, WireTensor, pack
from tests.tiny_bundle import INPUT_HW

NO_OPTIONS = Options()


def features_message(
    bundle_path: Path, encoding: str = "fp32", batch: int = 1, options: Options = NO_OPTIONS, value: float = 0.5
) -> FeatureMessage:
    """A message for the bundle's first cut with the same value everywhere."""
    bundle = Bundle.open(bundle_path)
    cut = bundle.cut()
    tensors = {spec.name: np.full([batch, *spec.shape[1:]], value, spec.dtype) for spec in cut.tensors}
    encoded = FeatureCodec(cut.tensors, encoding, cut.clips, max_batch=batch).encode(tensors)
    wired = tuple(WireTensor(*tensor) for tensor in encoded)
    return FeatureMessage(bundle.manifest.fingerprint, cut.name, encoding, wired, options)


def frame(bundle_path: Path, **changes: Any) -> bytes:
    """That message packed, with fields of the message, or of its first tensor by `tensor_...`, replaced."""
    message = features_message(bundle_path)
    of_tensor = {key[len("tensor_") :]: value for key, value in changes.items() if key.startswith("tensor_")}
    of_message = {key: value for key, value in changes.items() if not key.startswith("tensor_")}
    tensors = (message.tensors[0]._replace(**of_tensor), *message.tensors[1:])
    return pack(dataclasses.replace(message, **{"tensors": tensors, **of_message}))


def picture(height: int = INPUT_HW[0], width: int = INPUT_HW[1]) -> bytes:
    """A JPEG of noise, by default of the size the network takes."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return encode_jpeg(pixels, 90)
