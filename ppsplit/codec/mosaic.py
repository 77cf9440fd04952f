"""Features as pictures: the channels of a tensor side by side in one grey WebP. Needs nothing that was learnt.

A tensor becomes 8-bit codes over the bundle's range, as under `uint8`, and its channels tiles, row by row, as many
across as make the picture about square. Every tensor that is no map of floats goes lossless.

A WebP says its size itself, up to 16383 x 16383, and whoever decodes it believes that. So nothing is decoded before
the header, of lossy WebP in its plainest form (RFC 9649, section 2.5), says the size that the manifest means.
"""

from __future__ import annotations

import math
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ppsplit.bundle import Clip, TensorSpec
from ppsplit.codec.feature import DEFAULT_LEVEL, MAX_BATCH, EncodedTensor, FeatureCodec
from ppsplit.codec.leb128 import leb128, read_leb128
from ppsplit.codec.quantize import dequantize, quantize
from ppsplit.errors import CodecError

MOSAIC = "mosaic"
DEFAULT_QUALITY = 50
LARGEST_SIDE = 16_383


class MosaicCodec:
    """Encoder and decoder for the tensors that `specs` describes. Safe for several threads.

    Args:
        specs: what crosses, in order (`Cut.tensors`).
        clips: the 8-bit ranges of the cut (`Cut.clips`).
        quality: WebP's, 1 to 100, for encoding.
        max_batch: the largest batch that `decode` accepts.

    Raises:
        CodecError: a range is missing, no quality, or a tensor makes too large a picture.
    """

    encoding = MOSAIC

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        clips: Mapping[str, Mapping[str, Clip]],
        quality: Optional[int] = None,
        max_batch: int = MAX_BATCH,
    ) -> None:
        quality = DEFAULT_QUALITY if quality is None else quality
        if type(quality) is not int or not 1 <= quality <= 100:
            raise CodecError(f"the quality is {quality!r}; expected a whole number from 1 to 100")
        self.specs, self._quality = tuple(specs), quality
        self._codes = FeatureCodec(specs, "uint8", clips, DEFAULT_LEVEL, max_batch)  # refuses what lacks a range
        self._clips = clips.get("8", {})
        self._pictures = {s.name for s in specs if s.dtype == "float32" and len(s.shape) == 4 and min(s.shape[1:]) > 0}
        for spec in self.specs:
            if spec.name in self._pictures and max(_size(spec.shape)) > LARGEST_SIDE:
                raise CodecError(f"tensor {spec.name!r} makes too large a WebP; use encoding uint8")

    def encode(self, tensors: Mapping[str, np.ndarray]) -> List[EncodedTensor]:
        """Bytes of each tensor, in the order of `specs`. Raises CodecError as `FeatureCodec.encode` for uint8."""
        self._codes.check({name: (tuple(tensor.shape), str(tensor.dtype)) for name, tensor in tensors.items()})
        return [
            EncodedTensor(spec.name, tuple(tensors[spec.name].shape), spec.dtype, self._data(spec, tensors[spec.name]))
            for spec in self.specs
        ]

    def _data(self, spec: TensorSpec, tensor: np.ndarray) -> bytes:
        if spec.name not in self._pictures:
            return self._codes.encode_one(spec, tensor)
        files = [_to_webp(_tiled(codes), self._quality) for codes in quantize(tensor, self._clips[spec.name], 8)]
        return b"".join(leb128(len(file)) + file for file in files)

    def decode(self, encoded: Sequence[EncodedTensor]) -> Dict[str, np.ndarray]:
        """Inverse of `encode` up to WebP's loss; the arrays are the caller's to change.

        Raises:
            CodecError: something does not agree with `specs`, or the data is damaged.
        """
        self._codes.check_names([tensor.name for tensor in encoded])
        by_name = {tensor.name: tensor for tensor in encoded}
        self._codes.check({name: (tuple(tensor.shape), tensor.dtype) for name, tensor in by_name.items()})
        return {
            spec.name: self._values(by_name[spec.name])
            if spec.name in self._pictures
            else self._codes.decode_one(spec, by_name[spec.name])
            for spec in self.specs
        }

    def _values(self, encoded: EncodedTensor) -> np.ndarray:
        files = _split(encoded)
        for file in files:
            _check_header(file, _size(encoded.shape), encoded.name)
        codes = np.stack([_untiled(_from_webp(file, encoded), encoded.shape[1:]) for file in files])
        return dequantize(codes, self._clips[encoded.name], 8)


def _across(channels: int) -> int:
    return math.isqrt(channels - 1) + 1


def _size(shape: Sequence[int]) -> Tuple[int, int]:
    """Height and width in pixels of the mosaic of a tensor [N, C, H, W]."""
    across = _across(shape[1])
    return -(-shape[1] // across) * shape[2], across * shape[3]


def _tiled(codes: np.ndarray) -> np.ndarray:
    """uint8 [C, H, W] to a picture; places without a channel are 0."""
    channels, height, width = codes.shape
    across = _across(channels)
    down = -(-channels // across)
    tiles = np.zeros((down * across, height, width), np.uint8)
    tiles[:channels] = codes
    return tiles.reshape(down, across, height, width).swapaxes(1, 2).reshape(down * height, across * width)


def _untiled(picture: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    channels, height, width = shape
    across = _across(channels)
    tiles = picture.reshape(-1, height, across, width).swapaxes(1, 2)
    return tiles.reshape(-1, height, width)[:channels]


def _to_webp(picture: np.ndarray, quality: int) -> bytes:
    import cv2

    done, data = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, quality])
    if not done:
        raise CodecError("OpenCV cannot write WebP here; use encoding uint8")
    return bytes(data.tobytes())


def _from_webp(file: bytes, encoded: EncodedTensor) -> np.ndarray:
    import cv2

    try:
        picture = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error as error:
        raise CodecError(f"tensor {encoded.name!r} holds a damaged WebP ({error.err}); send it again") from error
    if picture is None or picture.shape != _size(encoded.shape):
        raise CodecError(f"tensor {encoded.name!r} holds a damaged WebP; send it again")
    return np.asarray(picture)


def _check_header(file: bytes, size: Tuple[int, int], name: str) -> None:
    """RIFF with one VP8 chunk and nothing else, whose key frame has `size`. Raises CodecError."""
    inner = len(file) - 8
    plain = file[:4] == b"RIFF" and int.from_bytes(file[4:8], "little") == inner and file[8:16] == b"WEBPVP8 "
    chunk = int.from_bytes(file[16:20], "little")
    if not (plain and len(file) >= 30 and chunk + chunk % 2 == inner - 12 and file[23:26] == b"\x9d\x01\x2a"):
        raise CodecError(f"tensor {name!r} holds no plain lossy WebP; send it again")
    width, height = (int.from_bytes(file[at : at + 2], "little") & LARGEST_SIDE for at in (26, 28))
    if (height, width) != size:
        raise CodecError(f"tensor {name!r} holds a WebP of {width}x{height} where its shape means {size[1]}x{size[0]}")


def _split(encoded: EncodedTensor) -> List[bytes]:
    at, files = 0, []
    for _ in range(encoded.shape[0]):
        size, at = read_leb128(encoded.data, at)
        files.append(encoded.data[at : at + size])
        at += size
    if at != len(encoded.data):
        raise CodecError(
            f"tensor {encoded.name!r} has {len(encoded.data)} bytes where its {len(files)} images say {at}; send again"
        )
    return files
