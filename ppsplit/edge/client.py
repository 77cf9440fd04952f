"""Pictures to detections or classes through the two halves, or through what competes with them."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ppsplit.bundle import Bundle, Manifest
from ppsplit.classification import Classification
from ppsplit.codec import Codec, EncodedTensor, FeatureCodec
from ppsplit.decode import CLASSIFY, build_decoder
from ppsplit.detections import Detections
from ppsplit.edge.head import Head
from ppsplit.edge.link import Link, Reply
from ppsplit.edge.timing import SERVER_STAGES, StageTimes
from ppsplit.errors import CodecError, LinkError, WireError
from ppsplit.image import Placement, encode_jpeg, fit, to_input
from ppsplit.runtime import Runtime, Tensors, run_part
from ppsplit.wire import FEATURES_TYPE, TENSORS_TYPE, FeatureMessage, Options, TensorMessage, WireTensor, pack, unpack

RAW = "raw"


@dataclass(frozen=True)
class EdgeResult:
    """What one picture gave.

    Attributes:
        image_hw: of the original, in pixels.
        detections: boxes in original pixels; None where the bundle's decode family is "raw" or "classify".
        outputs: raw outputs, batch of one, where the family is "raw"; else None.
        times_ms: by stage (`timing.STAGES`); network is the round trip less the server's own stages. Of a batch,
            each picture's even share, as for the bytes.
        payload_bytes: of the HTTP body sent.
        received_bytes: of the body that came back.
        classification: the likeliest classes where the family is "classify"; else None.
    """

    image_hw: Tuple[int, int]
    detections: Optional[Detections]
    outputs: Optional[Tensors]
    times_ms: Dict[str, float]
    payload_bytes: int
    received_bytes: int
    classification: Optional[Classification] = None


@dataclass
class _Found:
    """Of a whole batch: detections in input pixels, classes, or raw outputs."""

    detections: Optional[List[Detections]] = None
    outputs: Optional[Tensors] = None
    classifications: Optional[List[Classification]] = None


class Client(ABC):
    """One way from pictures to results; the ways below differ in where what is computed."""

    def __init__(self, bundle: Bundle, options: Options) -> None:
        self.bundle, self.options = bundle, options

    def infer(self, image_rgb: np.ndarray) -> EdgeResult:
        """One picture, uint8 [H, W, 3]. Raises as `infer_batch`."""
        return self.infer_batch([image_rgb])[0]

    @abstractmethod
    def infer_batch(self, images_rgb: Sequence[np.ndarray]) -> List[EdgeResult]:
        """Several pictures in one go.

        Raises:
            InferenceRuntimeError, CodecError: the head failed, or its features cannot be sent.
            LinkError: the server could not be reached, refused, or its answer makes no sense.
        """

    def _inputs(self, images_rgb: Sequence[np.ndarray]) -> Tuple[List[np.ndarray], List[Placement]]:
        pairs = [to_input(image, self.bundle.manifest.preprocess) for image in images_rgb]
        return [inputs for inputs, _ in pairs], [placement for _, placement in pairs]


class EdgeClient(Client):
    """The split: head here, the rest in the cloud. Another `codec` may be set between two pictures.

    Raises:
        CodecError, BundleError: the bundle has not what this encoding needs.
    """

    def __init__(
        self,
        head: Head,
        link: Optional[Link],
        encoding: str = "uint8",
        options: Optional[Options] = None,
        codec: Optional[Codec] = None,
    ) -> None:
        super().__init__(head.bundle, options or Options())
        self.head, self.link = head, link
        self.codec = codec or Codec(head.bundle, head.cut, encoding)

    def infer_batch(self, images_rgb: Sequence[np.ndarray]) -> List[EdgeResult]:
        if self.link is None:
            raise LinkError("this client was made without a link to a server; give it one, or use make_frame")
        times = StageTimes()
        frame, placements = self.make_frame(images_rgb, times)
        reply = self.link.post("/v1/infer", frame, FEATURES_TYPE)
        found = _understand(reply, self.bundle.manifest, len(images_rgb), times)
        return _results(found, placements, times, reply.sent_bytes, len(reply.body))

    def make_frame(
        self, images_rgb: Sequence[np.ndarray], times: Optional[StageTimes] = None
    ) -> Tuple[bytes, List[Placement]]:
        """The features of the pictures as one wire frame, and where each picture lies in the network's input."""
        times = times or StageTimes()
        with times.measure("preprocess"):
            inputs, placements = self._inputs(images_rgb)
        with times.measure("head"):
            features = self.head.run(inputs)
        with times.measure("encode"):
            tensors = tuple(WireTensor(*tensor) for tensor in self.codec.encode(features))
            fingerprint = self.bundle.manifest.fingerprint
            frame = pack(FeatureMessage(fingerprint, self.head.cut.name, self.codec.encoding, tensors, self.options))
        return frame, placements


class LocalClient(Client):
    """The edge alone: head, tail (where the cut leaves one) and decoding here; nothing is sent."""

    def __init__(self, head: Head, tail: Runtime, options: Optional[Options] = None) -> None:
        super().__init__(head.bundle, options or Options())
        manifest = self.bundle.manifest
        self.head, self._tail = head, tail
        raw = manifest.decode.family == RAW
        self._decoder = None if raw else build_decoder(manifest.decode, manifest.preprocess.input_hw)

    def infer_batch(self, images_rgb: Sequence[np.ndarray]) -> List[EdgeResult]:
        times = StageTimes()
        with times.measure("preprocess"):
            inputs, placements = self._inputs(images_rgb)
        with times.measure("head"):
            features = self.head.run(inputs)
        with times.measure("tail"):
            outputs = run_part(self._tail, features, [spec.name for spec in self.bundle.manifest.outputs])
        with times.measure("decode"):
            found = _Found(outputs=outputs)
            if self._decoder is not None:
                decoded = self._decoder(outputs, **self.options.to_map())
                is_classes = self.bundle.manifest.decode.family == CLASSIFY
                found = _Found(classifications=decoded) if is_classes else _Found(decoded)
        return _results(found, placements, times, 0, 0)


class JpegClient(Client):
    """The rival: the picture, at the network's input size, as JPEG; the whole network in the cloud."""

    def __init__(self, bundle: Bundle, link: Link, quality: int, options: Optional[Options] = None) -> None:
        super().__init__(bundle, options or Options())
        self.link, self.quality = link, quality

    def infer_batch(self, images_rgb: Sequence[np.ndarray]) -> List[EdgeResult]:
        return [self._infer_one(image) for image in images_rgb]  # a JPEG holds one picture

    def _infer_one(self, image_rgb: np.ndarray) -> EdgeResult:
        times = StageTimes()
        with times.measure("preprocess"):
            pixels, placement = fit(image_rgb, self.bundle.manifest.preprocess)
        with times.measure("encode"):
            jpeg = encode_jpeg(pixels, self.quality)
        reply = self.link.post("/v1/infer-image", jpeg, "image/jpeg", self.options.to_map())
        found = _understand(reply, self.bundle.manifest, 1, times)
        return _results(found, [placement], times, reply.sent_bytes, len(reply.body))[0]


def _understand(reply: Reply, manifest: Manifest, count: int, times: StageTimes) -> _Found:
    """Read the answer and count the server's stages; the rest of the round trip is the network's.

    Raises:
        LinkError: it is not an answer of this protocol, or not for these pictures.
    """
    try:
        is_frame = reply.content_type == TENSORS_TYPE
        found, fingerprint, server_ms = _read_frame(reply, manifest) if is_frame else _read_json(reply, manifest)
        stages = {stage: float(server_ms[stage]) for stage in SERVER_STAGES if stage in server_ms}
        _check_finite(found, stages)
        _check_masks(found, manifest.preprocess.input_hw)
        decoded = found.detections if found.classifications is None else found.classifications
        batch = len(decoded) if decoded is not None else count
    except (WireError, CodecError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise LinkError(f"the server's answer cannot be read ({error!r:.200}); is it a ppsplit server?") from error
    if fingerprint != manifest.fingerprint or batch != count:
        raise LinkError(
            f"the server answered for bundle {str(fingerprint)[:12]!r} and {batch} images, not what was asked"
        )
    for stage, duration_ms in stages.items():
        times.add(stage, duration_ms)
    times.add("network", max(0.0, reply.round_trip_ms - sum(stages.values())))
    return found


def _read_json(reply: Reply, manifest: Manifest) -> Tuple[_Found, Any, Dict[str, Any]]:
    values = json.loads(reply.body)
    if manifest.decode.family == CLASSIFY:
        classes = [Classification.from_records(records) for records in values["classifications"]]
        return _Found(classifications=classes), values["bundle"], dict(values["times_ms"])
    detections = [Detections.from_records(records) for records in values["detections"]]
    return _Found(detections), values["bundle"], dict(values["times_ms"])


def _read_frame(reply: Reply, manifest: Manifest) -> Tuple[_Found, Any, Dict[str, Any]]:
    message = unpack(reply.body)
    if not isinstance(message, TensorMessage):
        raise WireError("a features message, expected tensors")
    codec = FeatureCodec(manifest.outputs, message.encoding, {})
    outputs = codec.decode([EncodedTensor(*tensor) for tensor in message.tensors])
    return _Found(outputs=outputs), message.bundle, dict(message.times_ms)


def _check_finite(found: _Found, stages: Dict[str, float]) -> None:
    """Raise ValueError for a number that no box, score or duration can be."""
    boxes = [d.boxes_xyxy for d in found.detections or ()]
    scores = [d.scores for d in (*(found.detections or ()), *(found.classifications or ()))]
    if not all(np.isfinite(array).all() for array in (*boxes, *scores)):
        raise ValueError("a box or score is not finite")
    if not all(0 <= duration_ms < math.inf for duration_ms in stages.values()):
        raise ValueError(f"impossible durations {stages}")


def _check_masks(found: _Found, input_hw: Tuple[int, int]) -> None:
    """Raise ValueError for masks of another size than the input's: a few bytes of text may say any size."""
    sizes = {mask.hw for objects in found.detections or () for mask in objects.masks or ()}
    if sizes - {tuple(input_hw)}:
        raise ValueError(f"masks of {sorted(sizes)[:4]}, the input is {tuple(input_hw)}")


def _results(
    found: _Found, placements: Sequence[Placement], times: StageTimes, sent_bytes: int, received_bytes: int
) -> List[EdgeResult]:
    """One result for each picture, boxes back in its own pixels."""
    count = len(placements)
    results = []
    for index, placement in enumerate(placements):
        detections = None
        if found.detections is not None:
            detections = placement.detections_to_original(found.detections[index])
        outputs = None
        if found.outputs is not None:
            outputs = {name: tensor[index : index + 1] for name, tensor in found.outputs.items()}
        shares = (round(sent_bytes / count), round(received_bytes / count))
        classes = found.classifications[index] if found.classifications is not None else None
        results.append(EdgeResult(placement.original_hw, detections, outputs, times.per_image(count), *shares, classes))
    return results
