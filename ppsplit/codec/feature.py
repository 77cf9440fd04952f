"""The features of one cut to bytes and back.

float32 tensors go as the encoding says. Everything else (shapes, indices, masks) is little and must be exact,
so it goes lossless in any encoding. The clip ranges are in the bundle that both halves hold; they are not sent.
"""

from __future__ import annotations

from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ppsplit.bundle import Clip, TensorSpec
from ppsplit.codec.compress import compress, decompress
from ppsplit.codec.pack import pack, packed_size, unpack
from ppsplit.codec.quantize import check_clip, dequantize, quantize
from ppsplit.errors import CodecError

FEATURE = "feature"  # needs tables that were learnt: `codec.learned`
PLAIN_ENCODINGS = ("fp32", "fp16", "uint8", "uint4")
ENCODINGS = (*PLAIN_ENCODINGS, "mosaic", FEATURE)  # `codec.mosaic` needs OpenCV
CODE_BITS = {"uint8": 8, "uint4": 4}
LOSSLESS_DTYPES = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
FLOAT16_MAX = 65504.0
DEFAULT_LEVEL = 3
MAX_BATCH = 16  # larger ones gain nothing on a CPU, and the cloud must be ready to hold one for each request


class EncodedTensor(NamedTuple):
    """One tensor as bytes.

    Attributes:
        name: as in the manifest.
        shape: sizes, batch first where the manifest says -1.
        dtype: of the tensor that comes out again, numpy's name.
        data: packed, compressed content.
    """

    name: str
    shape: Tuple[int, ...]
    dtype: str
    data: bytes


class FeatureCodec:
    """Encoder and decoder for the tensors that `specs` describes. Safe for several threads.

    Args:
        specs: what crosses, in order (`Cut.tensors`, or a manifest's outputs).
        encoding: one of `PLAIN_ENCODINGS`.
        clips: bits ("8", "4") to tensor name to range (`Cut.clips`); needed by uint8 and uint4 only.
        level: zstandard's level, 1 to 22.
        max_batch: the largest batch that `decode` accepts.

    Raises:
        CodecError: unknown encoding or dtype, or a range is missing.
    """

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        encoding: str,
        clips: Mapping[str, Mapping[str, Clip]],
        level: int = DEFAULT_LEVEL,
        max_batch: int = MAX_BATCH,
    ) -> None:
        if encoding not in PLAIN_ENCODINGS:
            raise CodecError(f"unknown encoding {encoding!r}; known here: {', '.join(PLAIN_ENCODINGS)}")
        if not 1 <= level <= 22:
            raise CodecError(f"the compression level is {level}; expected 1 to 22")
        self.specs, self.encoding, self.level, self.max_batch = tuple(specs), encoding, level, max_batch
        self._bits = CODE_BITS.get(encoding)
        self._clips = {s.name: self._clip_of(s, clips) for s in self.specs if self._bits and s.dtype == "float32"}
        for spec in self.specs:
            if spec.dtype not in LOSSLESS_DTYPES:
                raise CodecError(f"tensor {spec.name!r} is {spec.dtype}; known: {', '.join(LOSSLESS_DTYPES)}")

    def _clip_of(self, spec: TensorSpec, clips: Mapping[str, Mapping[str, Clip]]) -> Clip:
        try:
            clip = clips[str(self._bits)][spec.name]
        except KeyError:
            raise CodecError(
                f"the bundle has no {self._bits}-bit range for tensor {spec.name!r}; "
                "use encoding fp32 or fp16, or export the bundle again with calibration images"
            ) from None
        check_clip(clip)
        return clip

    def encode(self, tensors: Mapping[str, np.ndarray]) -> List[EncodedTensor]:
        """Bytes of each tensor, in the order of `specs`.

        Raises:
            CodecError: a tensor is missing, unknown, of another dtype or shape, or holds NaN or an infinity
                under uint8 or uint4.
        """
        self.check({name: (tuple(tensor.shape), str(tensor.dtype)) for name, tensor in tensors.items()})
        return [
            EncodedTensor(
                spec.name, tuple(tensors[spec.name].shape), spec.dtype, self.encode_one(spec, tensors[spec.name])
            )
            for spec in self.specs
        ]

    def decode(self, encoded: Sequence[EncodedTensor]) -> Dict[str, np.ndarray]:
        """Inverse of `encode` up to the encoding's loss; the arrays are the caller's to change.

        Nothing is allocated before names, dtypes, shapes, batch and sizes agree with `specs`.

        Raises:
            CodecError: something does not agree, or the data is damaged.
        """
        self.check_names([tensor.name for tensor in encoded])
        by_name = {tensor.name: tensor for tensor in encoded}
        self.check({name: (tuple(tensor.shape), tensor.dtype) for name, tensor in by_name.items()})
        return {spec.name: self.decode_one(spec, by_name[spec.name]) for spec in self.specs}

    def check(self, tensors: Mapping[str, Tuple[Tuple[int, ...], str]]) -> int:
        """Raise CodecError unless names, and each tensor's shape and dtype, are as `specs` says; returns the batch."""
        self.check_names(list(tensors))
        batch: Optional[int] = None
        for spec in self.specs:
            batch = self._check(spec, *tensors[spec.name], batch)
        return batch or 1

    def check_names(self, names: List[str]) -> None:
        """Raise CodecError unless these are the tensors of `specs`, each once."""
        expected = [spec.name for spec in self.specs]
        if sorted(names) != sorted(expected):
            raise CodecError(f"expected the tensors {expected}, got {names[:16]}; are both halves of the same cut?")

    def _check(self, spec: TensorSpec, shape: Tuple[int, ...], dtype: str, batch: Optional[int]) -> Optional[int]:
        """Raise CodecError unless shape and dtype fit; returns the batch, which all tensors must share."""
        if dtype != spec.dtype:
            raise CodecError(f"tensor {spec.name!r} is {dtype}, expected {spec.dtype}")
        fits = len(shape) == len(spec.shape)
        for size, wanted in zip(shape, spec.shape):
            if wanted == -1:
                fits = fits and 1 <= size <= self.max_batch and batch in (None, size)
                batch = size if batch is None else batch
            else:
                fits = fits and size == wanted
        if not fits:
            raise CodecError(
                f"tensor {spec.name!r} has shape {list(shape)}, expected {list(spec.shape)} "
                f"with the same batch of 1 to {self.max_batch} in all tensors"
            )
        return batch

    def encode_one(self, spec: TensorSpec, tensor: np.ndarray) -> bytes:
        """The data of a tensor that `check` has passed. Raises CodecError for NaN and infinities in few bits."""
        return compress(self._to_bytes(spec, tensor), self.level)

    def _to_bytes(self, spec: TensorSpec, tensor: np.ndarray) -> bytes:
        if spec.dtype == "float32":
            if self._bits:
                return pack(quantize(tensor, self._clips[spec.name], self._bits), self._bits)
            if self.encoding == "fp16":
                return _to_half(tensor).tobytes()
        return np.ascontiguousarray(tensor, np.dtype(spec.dtype).newbyteorder("<")).tobytes()

    def decode_one(self, spec: TensorSpec, encoded: EncodedTensor) -> np.ndarray:
        """A tensor that `check` has passed. Raises CodecError for damaged data."""
        count = 1
        for size in encoded.shape:
            count *= size  # Python's integers do not overflow
        if spec.dtype == "float32" and self._bits:
            codes = unpack(decompress(encoded.data, packed_size(count, self._bits)), count, self._bits)
            return dequantize(codes, self._clips[spec.name], self._bits).reshape(encoded.shape)
        kept = "float16" if spec.dtype == "float32" and self.encoding == "fp16" else spec.dtype
        stored = np.dtype(kept).newbyteorder("<")
        data = decompress(encoded.data, count * stored.itemsize)
        if kept == "bool" and data.translate(None, b"\x00\x01"):
            raise CodecError(f"tensor {spec.name!r} is bool and holds bytes other than 0 and 1")
        return np.frombuffer(data, stored).astype(spec.dtype).reshape(encoded.shape)


def _to_half(tensor: np.ndarray) -> np.ndarray:
    """float32 to little-endian float16. Finite values saturate instead of turning into infinities."""
    finite = np.isfinite(tensor)
    return np.where(finite, np.clip(tensor, -FLOAT16_MAX, FLOAT16_MAX), tensor).astype("<f2")
