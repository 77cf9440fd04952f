"""Operating points: where to cut and how to encode, as a stream may change it from frame to frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Mapping, Optional, Sequence

from ppsplit.bundle import Bundle, Cut
from ppsplit.codec import FEATURE, Codec
from ppsplit.codec.feature import CODE_BITS
from ppsplit.edge.head import Head

ADAPTIVE_PLAIN = ("uint8", "uint4")  # fp16 and fp32 cost two and four times uint8's bytes and bring no AP
ADAPTIVE_QUALITIES = 4  # of the learned codec's curve, spread evenly


@dataclass(frozen=True)
class OperatingPoint:
    """One way to make a frame's message.

    Attributes:
        name: for log and results, such as "pool4/uint8" or "pool4/feature q40".
        head: the part of the network that runs here.
        codec: of what crosses.
        expected_bytes: of a message, before one was sent.
    """

    name: str
    head: Head
    codec: Codec
    expected_bytes: int

    @property
    def cut(self) -> Cut:
        """Where the network is divided."""
        return self.head.cut


def make_point(
    bundle: Bundle, head: Head, encoding: str, quality: Optional[int] = None, target_bytes: Optional[int] = None
) -> OperatingPoint:
    """The point of one cut and encoding. Raises CodecError, BundleError as `Codec`."""
    codec = Codec(bundle, head.cut, encoding, quality, target_bytes)
    shown = encoding if quality is None else f"{encoding} q{quality}"
    return OperatingPoint(f"{head.cut.name}/{shown}", head, codec, _expected_bytes(head.cut, encoding, quality))


def adaptive_points(bundle: Bundle, heads: Sequence[Head]) -> List[OperatingPoint]:
    """The points of some cuts that are worth moving among, those with the most faithful features first.

    Of points that keep the features equally well (the same encoding at several cuts) all are listed; which is the
    fastest depends on the link.

    Raises:
        CodecError, BundleError: the bundle has not what it promises.
    """
    points = []
    for head in heads:
        plain = [encoding for encoding in ADAPTIVE_PLAIN if str(CODE_BITS[encoding]) in head.cut.clips]
        points += [make_point(bundle, head, encoding) for encoding in plain]
        points += [make_point(bundle, head, FEATURE, quality) for quality in _qualities(head.cut)]
        if not plain:
            points.append(make_point(bundle, head, "fp16"))
    return sorted(points, key=lambda point: -point.expected_bytes)


def _qualities(cut: Cut) -> List[int]:
    """Some of the learned codec's measured qualities, best first."""
    if cut.learned is None:
        return []
    measured = sorted((point.quality for point in cut.learned.curve), reverse=True) or [cut.learned.quality]
    step = max(1, len(measured) // ADAPTIVE_QUALITIES)
    return measured[::step][:ADAPTIVE_QUALITIES]


def _expected_bytes(cut: Cut, encoding: str, quality: Optional[int]) -> int:
    """What the manifest lets expect: the learned codec's curve; else the size before compression, which is more."""
    if encoding == FEATURE and cut.learned is not None and cut.learned.curve:
        wanted = cut.learned.quality if quality is None else quality
        nearest = min(cut.learned.curve, key=lambda point: abs(point.quality - wanted))
        return round(nearest.coded_bytes)
    bits: Mapping[str, int] = {**CODE_BITS, "fp16": 16}
    return sum(spec.bytes_per_image(bits.get(encoding, 32)) for spec in cut.tensors)
