"""What a channel that flips bits costs: in AP with the checksum off, in bytes with it on and messages sent again."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ppsplit.bundle import Bundle, Cut
from ppsplit.codec import FEATURE, Codec, EncodedTensor
from ppsplit.codec.feature import PLAIN_ENCODINGS
from ppsplit.data.coco import CocoSet
from ppsplit.detections import Detections
from ppsplit.errors import CodecError, ConfigError, WireError
from ppsplit.evaluate.halves import Halves
from ppsplit.evaluate.split_table import check_classes
from ppsplit.metrics.coco_ap import coco_ap
from ppsplit.runtime import Tensors
from ppsplit.wire import HEADER_BYTES, FeatureMessage, WireTensor, pack, unpack
from ppsplit.wire.frame import HEADER, MAGIC, VERSION
from ppsplit.wire.message import Message

MAX_TRIES = 10  # then a sender has given the message up
Progress = Callable[[str, int, int], None]


@dataclass
class _Tally:
    """One encoding at one rate, over the set."""

    unchecked: Dict[int, Detections] = field(default_factory=dict)
    checked: Dict[int, Detections] = field(default_factory=dict)
    unreadable: int = 0
    lost: int = 0
    undetected: int = 0
    sent_bytes: List[int] = field(default_factory=list)


def bit_error_table(
    bundle: Bundle, cut: Cut, coco_set: CocoSet, rates: Sequence[float], progress: Progress, seed: int = 0
) -> List[Dict[str, Any]]:
    """Send every image's features over a binary symmetric channel, in each encoding at each rate.

    With the checksum off the message's header is taken to be safe, whatever is behind it is read as it came; with it
    on a damaged message is sent again, whole, up to `MAX_TRIES` times. A message that cannot be read, or never comes,
    is an image with nothing found.

    Args:
        rates: the chance of each bit to be flipped, apart from all others.
        progress: called with an encoding, its number and how many there are, before it is measured.
        seed: of the flips.

    Returns:
        rows: encoding, bit_error_rate, frame_bytes (mean), ap_unchecked, unreadable (share of messages that could
        not be read with the checksum off), ap_checked, sent_bytes (mean, all tries), lost (share given up), undetected
        (damaged messages that the checksum let pass). A row of rate 0 first in each encoding.

    Raises:
        ConfigError: a rate outside 0..1; the bundle's outputs are not decoded to boxes.
        DataError: the set's categories are not the model's classes.
    """
    if not rates or not all(0 < rate < 1 for rate in rates):
        raise ConfigError(f"bit error rates are between 0 and 1, such as 1e-4; got {list(rates)}")
    check_classes(bundle, coco_set)
    halves = Halves(bundle, cut)
    encodings = [*PLAIN_ENCODINGS, *([FEATURE] if cut.learned is not None else [])]
    rows = []
    for number, encoding in enumerate(encodings, 1):
        progress(encoding, number, len(encodings))
        codec = Codec(bundle, cut, encoding)
        tallies = {rate: _Tally() for rate in (0.0, *rates)}
        for image in coco_set.images:
            _send(halves, codec, image, tallies, np.random.default_rng([seed, image.image_id]))
        rows += [_row(encoding, rate, tally, tallies[0.0], coco_set) for rate, tally in tallies.items()]
    return rows


def _send(halves: Halves, codec: Codec, image: Any, tallies: Dict[float, _Tally], rng: np.random.Generator) -> None:
    pixels, placement = halves.read(image.path)
    tensors = tuple(WireTensor(*tensor) for tensor in codec.encode(halves.features(pixels)))
    frame = pack(FeatureMessage(halves.bundle.manifest.fingerprint, halves.cut.name, codec.encoding, tensors))

    def found(outputs: Optional[Tensors]) -> Detections:
        return Detections.empty() if outputs is None else halves.detections(outputs, placement)

    clean = found(_outputs(halves, codec, frame))
    for rate, tally in tallies.items():
        outputs = _outputs(halves, codec, resealed(flip_bits(frame, rate, rng)))
        tally.unreadable += outputs is None
        tally.unchecked[image.image_id] = found(outputs)
        tries, arrived = _tries(frame, rate, rng, tally)
        tally.lost += not arrived
        tally.checked[image.image_id] = clean if arrived else Detections.empty()
        tally.sent_bytes.append(tries * len(frame))


def _tries(frame: bytes, rate: float, rng: np.random.Generator, tally: _Tally) -> Tuple[int, bool]:
    """How often the message was sent until the reader's own check took it, and whether it did."""
    for number in range(1, MAX_TRIES + 1):
        received = flip_bits(frame, rate, rng)
        try:
            unpack(received)
        except WireError:
            continue
        tally.undetected += received != frame
        return number, True
    return MAX_TRIES, False


def _outputs(halves: Halves, codec: Codec, frame: bytes) -> Optional[Tensors]:
    """What the cloud makes of a message; None where it would refuse it."""
    try:
        message = unpack(frame)
        if not _is_ours(message, halves, codec):
            return None
        features = codec.decode([EncodedTensor(*tensor) for tensor in message.tensors])
    except (WireError, CodecError):
        return None
    with np.errstate(all="ignore"):
        outputs = halves.outputs(features)
    return outputs if all(np.isfinite(array).all() for array in outputs.values()) else None


def _is_ours(message: Message, halves: Halves, codec: Codec) -> bool:
    """Whether a message, its checksum off, still says what the cloud goes by."""
    return isinstance(message, FeatureMessage) and (message.bundle, message.cut, message.encoding) == (
        halves.bundle.manifest.fingerprint,
        halves.cut.name,
        codec.encoding,
    )


def flip_bits(frame: bytes, rate: float, rng: np.random.Generator) -> bytes:
    """`frame` after a binary symmetric channel: each bit behind the header flipped with probability `rate`."""
    bits = 8 * (len(frame) - HEADER_BYTES)
    flipped = rng.choice(bits, rng.binomial(bits, rate), replace=False, shuffle=False)
    received = np.frombuffer(frame, np.uint8).copy()
    np.bitwise_xor.at(received, HEADER_BYTES + flipped // 8, np.left_shift(1, flipped % 8).astype(np.uint8))
    return received.tobytes()


def resealed(frame: bytes) -> bytes:
    """With the checksum that fits the body as it is: what a reader without one would read."""
    body = frame[HEADER_BYTES:]
    return HEADER.pack(MAGIC, VERSION, 0, 0, zlib.crc32(body), len(body)) + body


def _row(encoding: str, rate: float, tally: _Tally, clean: _Tally, coco_set: CocoSet) -> Dict[str, Any]:
    images = len(coco_set.images)
    return {
        "encoding": encoding,
        "bit_error_rate": rate,
        "frame_bytes": round(float(np.mean(clean.sent_bytes))),
        "ap_unchecked": round(coco_ap(coco_set, tally.unchecked)["ap"], 4),
        "unreadable": round(tally.unreadable / images, 4),
        "ap_checked": round(coco_ap(coco_set, tally.checked)["ap"], 4),
        "sent_bytes": round(float(np.mean(tally.sent_bytes))),
        "lost": round(tally.lost / images, 4),
        "undetected": tally.undetected,
    }
