"""The codec of a cut by its encoding's name, the same way on both halves."""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Sequence

import numpy as np

from ppsplit.bundle import Bundle, Cut
from ppsplit.codec.feature import FEATURE, MAX_BATCH, EncodedTensor, FeatureCodec
from ppsplit.codec.learned import LearnedCodec
from ppsplit.codec.mosaic import MOSAIC, MosaicCodec
from ppsplit.codec.tables import load_tables
from ppsplit.errors import CodecError


class Codec:
    """One encoding of one cut of a bundle: tensors to bytes and back.

    Args:
        bundle: holds what the encoding needs.
        cut: of it.
        encoding: one of `ENCODINGS`.
        quality: for "feature" and "mosaic", 1 to 100; None for the bundle's choice, or the mosaic's own.
        target_bytes: for "feature", in quality's place: what an image's data may take.
        max_batch: the largest batch that `decode` accepts.

    Raises:
        CodecError: unknown encoding, the bundle has not what it needs, or a wish that it does not know.
        BundleError: the bundle's tables are missing or damaged.
    """

    def __init__(
        self,
        bundle: Bundle,
        cut: Cut,
        encoding: str,
        quality: Optional[int] = None,
        target_bytes: Optional[int] = None,
        max_batch: int = MAX_BATCH,
    ) -> None:
        self.encoding = encoding
        if encoding != FEATURE and target_bytes is not None:
            raise CodecError(f"target bytes are of the encoding {FEATURE!r}, not of {encoding!r}")
        if encoding == MOSAIC:
            mosaic = MosaicCodec(cut.tensors, cut.clips, quality, max_batch)
            self._encode, self._decode = mosaic.encode, mosaic.decode
            return
        if encoding != FEATURE:
            if quality is not None:
                raise CodecError(f"quality is of the encodings {FEATURE!r} and {MOSAIC!r}, not of {encoding!r}")
            plain = FeatureCodec(cut.tensors, encoding, cut.clips, max_batch=max_batch)
            self._encode, self._decode = plain.encode, plain.decode
            return
        if cut.learned is None:
            raise CodecError(
                f"cut {cut.name!r} has no tables for the encoding {FEATURE!r}; "
                "make them with `ppsplit calibrate BUNDLE --images DIR`, or use encoding uint4"
            )
        tables = load_tables(bundle.path(cut.learned.tables))
        chosen = cut.learned.quality if quality is None else quality
        learned = LearnedCodec(cut.tensors, tables, chosen, target_bytes, max_batch)
        self._encode, self._decode = learned.encode, learned.decode

    def encode(self, tensors: Mapping[str, np.ndarray]) -> List[EncodedTensor]:
        """Bytes of each tensor, in the order of the cut's. Raises CodecError as the encoding's own codec."""
        return self._encode(tensors)

    def decode(self, encoded: Sequence[EncodedTensor]) -> Dict[str, np.ndarray]:
        """Inverse of `encode` up to the encoding's loss. Raises CodecError as the encoding's own codec."""
        return self._decode(encoded)
