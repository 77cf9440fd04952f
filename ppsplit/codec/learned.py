"""The features of one cut in few bytes: components that matter to the task, as integers coded by their surroundings.

What was learnt is in the bundle (`codec.tables`); quality is chosen frame by frame and travels with every tensor.
A tensor's data is version (1 byte), quality (1 byte), then for each image of the batch the LEB128 size of its coded
integers (`codec.wavefront`), and they. Tensors without tables (shapes, masks) go lossless, as in any other encoding.
"""

from __future__ import annotations

from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ppsplit.bundle import TensorSpec
from ppsplit.codec.feature import FEATURE, MAX_BATCH, EncodedTensor, FeatureCodec
from ppsplit.codec.importance import worth_of
from ppsplit.codec.leb128 import leb128, read_leb128
from ppsplit.codec.tables import BEST, WORST, FeatureTables, scale_of
from ppsplit.codec.transform import from_components, to_components
from ppsplit.codec.wavefront import decode_map, encode_components
from ppsplit.errors import CodecError

VERSION = 2
LOSSLESS = "fp32"
TRADE = 5_243  # 0.08 squared steps for a bit: what sends fewest bytes at one divergence, on photos not learnt from


class _Image(NamedTuple):
    components: np.ndarray  # float32 [K, H, W], in units of the middle quality's step
    worth: np.ndarray  # int32 [H, W]


class LearnedCodec:
    """Encoder and decoder for the tensors that `specs` describes. Safe for several threads.

    Args:
        specs: what crosses, in order (`Cut.tensors`).
        tables: of those of them that have some.
        quality: 1 to 100, for encoding; what is decoded says its own.
        target_bytes: an image's coded tensors take at most so many, at the best quality that does it; `quality` then
            plays no part. Where not even quality 1 does it, quality 1 is sent.
        max_batch: the largest batch that `decode` accepts.

    Raises:
        CodecError: tables of a tensor that is not there or does not fit, no quality, no number of bytes.
    """

    encoding = FEATURE

    def __init__(
        self,
        specs: Sequence[TensorSpec],
        tables: FeatureTables,
        quality: int,
        target_bytes: Optional[int] = None,
        max_batch: int = MAX_BATCH,
    ) -> None:
        self.specs, self.tables, self.quality, self.target_bytes = tuple(specs), tables, quality, target_bytes
        self._lossless = FeatureCodec(specs, LOSSLESS, {}, max_batch=max_batch)
        scale_of(quality)
        if target_bytes is not None and target_bytes < 1:
            raise CodecError(f"the target is {target_bytes} bytes an image; expected at least 1")
        shapes = {spec.name: spec.shape for spec in specs if spec.dtype == "float32"}
        for name, tensor in tables.tensors.items():
            shape = shapes.get(name, ())
            if len(shape) != 4 or shape[1] != len(tensor.mean) or min(shape[1:]) < 1:
                raise CodecError(f"codec tables for {name!r} do not fit the cut, where it has shape {list(shape)}")

    def encode(self, tensors: Mapping[str, np.ndarray]) -> List[EncodedTensor]:
        """Bytes of each tensor, in the order of `specs`.

        Raises:
            CodecError: a tensor is missing, unknown, of another dtype or shape, or holds NaN or an infinity, or values
                that overflow the transform; what is merely large saturates.
        """
        batch = self._lossless.check({name: (tuple(t.shape), str(t.dtype)) for name, t in tensors.items()})
        components = {name: self._components(name, tensors[name]) for name in self.tables.tensors}
        rest = {spec.name: spec for spec in self.specs if spec.name not in components}
        exact = {name: self._lossless.encode_one(spec, tensors[name]) for name, spec in rest.items()}
        exact_bytes = sum(len(data) for data in exact.values())
        coded = self._coded(components, batch, exact_bytes)
        return [
            EncodedTensor(spec.name, tuple(tensors[spec.name].shape), spec.dtype, {**exact, **coded}[spec.name])
            for spec in self.specs
        ]

    def _components(self, name: str, tensor: np.ndarray) -> List[_Image]:
        if not np.isfinite(tensor).all():
            raise CodecError("a feature is NaN or infinite and has no code; check the head, or send with encoding fp32")
        tables = self.tables.tensors[name]
        with np.errstate(over="ignore", invalid="ignore"):
            found = [to_components(values, tables.mean, tables.forward) for values in tensor]
            if not all(np.isfinite(components).all() for components in found):
                raise CodecError(
                    "the features are too large for their codec; check the head, or send with encoding fp32"
                )
            return [_Image(components, worth_of(components, tables.worth)) for components in found]

    def _coded(self, components: Mapping[str, List[_Image]], batch: int, exact_bytes: int) -> Dict[str, bytes]:
        if self.target_bytes is None:
            return self._at(self.quality, components)
        best = self._at(WORST, components)
        low, high = WORST, BEST  # `best` is of quality `low`
        while low < high:
            middle = (low + high + 1) // 2
            tried = self._at(middle, components)
            if sum(map(len, tried.values())) + exact_bytes <= self.target_bytes * batch:
                best, low = tried, middle
            else:
                high = middle - 1
        return best

    def _at(self, quality: int, components: Mapping[str, List[_Image]]) -> Dict[str, bytes]:
        scale, coded = np.float32(scale_of(quality)), {}
        for name, images in components.items():
            model = self.tables.rung(name, quality).model
            parts = [
                encode_components(image.components[: model.channels] * scale, image.worth, TRADE, model)[0]
                for image in images
            ]
            coded[name] = bytes([VERSION, quality]) + b"".join(leb128(len(part)) + part for part in parts)
        return coded

    def decode(self, encoded: Sequence[EncodedTensor]) -> Dict[str, np.ndarray]:
        """The tensors, as near as the quality that they say allows; the arrays are the caller's to change.

        Nothing is allocated before names, dtypes, shapes, batch and sizes agree with `specs`.

        Raises:
            CodecError: something does not agree, or the data is damaged.
        """
        self._lossless.check_names([tensor.name for tensor in encoded])
        self._lossless.check({tensor.name: (tuple(tensor.shape), tensor.dtype) for tensor in encoded})
        by_name = {tensor.name: tensor for tensor in encoded}
        return {
            spec.name: self._values(by_name[spec.name])
            if spec.name in self.tables.tensors
            else self._lossless.decode_one(spec, by_name[spec.name])
            for spec in self.specs
        }

    def _values(self, encoded: EncodedTensor) -> np.ndarray:
        quality, parts = _split(encoded)
        tables, rung = self.tables.tensors[encoded.name], self.tables.rung(encoded.name, quality)
        backward = rung.backward / np.float32(scale_of(quality))
        shape = (rung.model.channels, *encoded.shape[2:])
        maps = [decode_map(part, shape, rung.model) for part in parts]  # all of them, before anything larger is made
        return np.stack([from_components(values, tables.mean, backward) for values in maps])


def _split(encoded: EncodedTensor) -> Tuple[int, List[bytes]]:
    """The quality, and each image's bytes. Raises CodecError."""
    data = encoded.data
    if len(data) < 2 or data[0] != VERSION or not WORST <= data[1] <= BEST:
        raise CodecError(
            f"tensor {encoded.name!r} starts with {data[:2].hex()!r}; expected version {VERSION} and a quality of "
            f"{WORST} to {BEST}, one byte each"
        )
    at, parts = 2, []
    for _ in range(encoded.shape[0]):
        size, at = read_leb128(data, at)
        parts.append(data[at : at + size])
        at += size
    if at != len(data):
        raise CodecError(
            f"tensor {encoded.name!r} has {len(data)} bytes where its {len(parts)} images say {at}; send it again"
        )
    return data[1], parts
