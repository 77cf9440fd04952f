"""Bytes against accuracy: every encoding of a cut, and the input itself as JPEG, WebP and AVIF, off real encoders."""

from __future__ import annotations

import io
import statistics
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ppsplit.bundle import FULL, Bundle, Cut
from ppsplit.codec import FEATURE, Codec
from ppsplit.codec.feature import PLAIN_ENCODINGS
from ppsplit.codec.mosaic import MOSAIC
from ppsplit.data.coco import CocoSet
from ppsplit.decode.scores import class_scores, knows_scores
from ppsplit.detections import Detections
from ppsplit.errors import DataError
from ppsplit.evaluate.halves import Halves, owned
from ppsplit.evaluate.split_table import check_classes
from ppsplit.image import Placement, normalise
from ppsplit.metrics.coco_ap import coco_box_ap
from ppsplit.metrics.score_kl import score_kl
from ppsplit.runtime import Tensors, load_program, run_part
from ppsplit.wire import FeatureMessage, WireTensor, pack

RIVALS = {"jpeg": "JPEG", "webp": "WEBP", "avif": "AVIF"}
RIVAL_QUALITIES = {"jpeg": (30, 55, 80), "webp": (30, 55, 80), "avif": (30, 50, 70)}
MOSAIC_QUALITIES = (35, 75)
Progress = Callable[[str, int, int], None]
# of one image: what the network's outputs become, the bytes sent, and processor milliseconds of encoding and decoding
Passed = Tuple[Tensors, int, float, float]


@dataclass(frozen=True)
class Way:
    """One way to the cloud. `quality` is None where there is no dial."""

    name: str
    quality: Optional[int] = None

    @property
    def title(self) -> str:
        """Name and quality."""
        return self.name if self.quality is None else f"{self.name} q{self.quality}"


@dataclass(frozen=True)
class _Photo:
    pixels: np.ndarray  # uint8 [H, W, 3], as large as the network's input
    placement: Placement
    features: Tensors
    truth: Tensors


def planned_ways(bundle: Bundle, cut: Cut, qualities: Sequence[int]) -> List[Way]:
    """All encodings that the bundle has what they need for, and the rivals.

    Args:
        qualities: of "feature", beside the bundle's own.
    """
    ways = [Way(encoding) for encoding in PLAIN_ENCODINGS]
    ways += [Way(MOSAIC, quality) for quality in MOSAIC_QUALITIES]
    if cut.learned is not None:
        ways += [Way(FEATURE, quality) for quality in sorted({cut.learned.quality, *qualities})]
    return ways + [Way(name, quality) for name in RIVALS for quality in RIVAL_QUALITIES[name]]


def rate_table(
    bundle: Bundle, cut: Cut, coco_set: CocoSet, ways: Sequence[Way], progress: Progress
) -> List[Dict[str, Any]]:
    """Measure every way over the whole set, programs in Paddle Inference, fp32.

    Returns:
        rows: name, group, quality, payload_bytes (mean over images; of a rival the file, of a split the whole
        message), payload_bytes_p95, ap, ap50, score_kl (None where the family's scores are not known), encode_ms and
        decode_ms (medians, processor time), images. The first row is the network with nothing rounded and nothing sent.

    Raises:
        ConfigError: the bundle's outputs are not decoded to boxes, so there is no AP.
        DataError: the set's categories are not the model's classes.
        PPSplitError: a program or a codec failed.
    """
    check_classes(bundle, coco_set)
    bench = _Bench(bundle, cut, coco_set)
    total = len(ways) + 1
    progress("features", 1, total)
    bench.prepare()
    rows = [bench.row("none", None, [(photo.truth, 0, 0.0, 0.0) for photo in bench.photos])]
    for number, way in enumerate(ways, 2):
        progress(way.title, number, total)
        through = bench.through_rival(way) if way.name in RIVALS else bench.through_codec(way)
        rows.append({**bench.row(way.name, way.quality, [through(photo) for photo in bench.photos])})
    return rows


class _Bench:
    def __init__(self, bundle: Bundle, cut: Cut, coco_set: CocoSet) -> None:
        self.bundle, self.cut, self.coco_set = bundle, cut, coco_set
        self.photos: List[_Photo] = []
        self._halves = Halves(bundle, cut)
        self._full = load_program(bundle, bundle.program(cut, FULL, "paddle"))

    def prepare(self) -> None:
        for image in self.coco_set.images:
            pixels, placement = self._halves.read(image.path)
            features = self._halves.features(pixels)
            self.photos.append(_Photo(pixels, placement, features, self._halves.outputs(features)))

    def through_codec(self, way: Way) -> Callable[[_Photo], Passed]:
        """Encoded, put into a message as the edge does, decoded, and through the cloud half."""
        codec = Codec(self.bundle, self.cut, way.name, way.quality)
        fingerprint = self.bundle.manifest.fingerprint

        def passed(photo: _Photo) -> Passed:
            start = time.process_time()
            encoded = codec.encode(photo.features)
            encode_ms = (time.process_time() - start) * 1000
            message = FeatureMessage(
                fingerprint, self.cut.name, codec.encoding, tuple(WireTensor(*tensor) for tensor in encoded)
            )
            start = time.process_time()
            features = codec.decode(encoded)
            decode_ms = (time.process_time() - start) * 1000
            return self._halves.outputs(features), len(pack(message)), encode_ms, decode_ms

        return passed

    def through_rival(self, way: Way) -> Callable[[_Photo], Passed]:
        """The picture, at the network's input size, as a file; the whole network behind."""
        manifest = self.bundle.manifest
        assert way.quality is not None
        quality = way.quality

        def passed(photo: _Photo) -> Passed:
            start = time.process_time()
            data = encode_picture(photo.pixels, way.name, quality)
            encode_ms = (time.process_time() - start) * 1000
            start = time.process_time()
            pixels = decode_picture(data)
            decode_ms = (time.process_time() - start) * 1000
            feeds = {manifest.input.name: normalise(pixels, manifest.preprocess)}
            outputs = run_part(self._full, feeds, [spec.name for spec in manifest.outputs])
            return owned(outputs), len(data), encode_ms, decode_ms

        return passed

    def row(self, name: str, quality: Optional[int], passed: Sequence[Passed]) -> Dict[str, Any]:
        found: Dict[int, Detections] = {}
        divergences = []
        for image, photo, (outputs, _, _, _) in zip(self.coco_set.images, self.photos, passed):
            found[image.image_id] = self._halves.detections(outputs, photo.placement)
            if knows_scores(self.bundle.manifest.decode):
                scores = (class_scores(each, self.bundle.manifest.decode)[0] for each in (photo.truth, outputs))
                divergences.append(score_kl(*scores))
        precision = coco_box_ap(self.coco_set, found)
        sizes = [size for _, size, _, _ in passed]
        return {
            "name": Way(name, quality).title,
            "group": name,
            "quality": quality,
            "payload_bytes": round(float(np.mean(sizes))),
            "payload_bytes_p95": round(float(np.percentile(sizes, 95))),
            "ap": round(precision["ap"], 4),
            "ap50": round(precision["ap50"], 4),
            "score_kl": round(float(np.mean(divergences)), 4) if divergences else None,
            "encode_ms": round(statistics.median(ms for _, _, ms, _ in passed), 2),
            "decode_ms": round(statistics.median(ms for _, _, _, ms in passed), 2),
            "images": len(passed),
        }


def encode_picture(pixels: np.ndarray, name: str, quality: int) -> bytes:
    """uint8 RGB [H, W, 3] as a file of a format of RIVALS: chroma subsampled, Pillow's other defaults.

    Raises:
        DataError: this Pillow was built without the format.
    """
    from PIL import Image

    stream = io.BytesIO()
    try:
        Image.fromarray(pixels).save(stream, RIVALS[name], quality=quality)
    except (KeyError, OSError) as error:
        raise DataError(f"Pillow cannot write {RIVALS[name]} ({error}); leave {name} out") from error
    return stream.getvalue()


def decode_picture(data: bytes) -> np.ndarray:
    """uint8 RGB [H, W, 3] of such a file."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
