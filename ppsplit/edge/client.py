"""Pictures to detections or classes through the two halves, or through what competes with them.

A failure is an error here; `edge.stream` is for those who have to have an answer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import List, Optional, Sequence, Tuple

import numpy as np

from ppsplit.bundle import Bundle
from ppsplit.codec import Codec
from ppsplit.edge.answer import EDGE, EdgeResult, results_of, understand
from ppsplit.edge.head import Head
from ppsplit.edge.link import Link
from ppsplit.edge.tail import Tail
from ppsplit.edge.timing import StageTimes
from ppsplit.errors import LinkError
from ppsplit.image import Placement, encode_jpeg, fit, to_input
from ppsplit.runtime import Runtime
from ppsplit.wire import FEATURES_TYPE, FeatureMessage, Options, WireTensor, pack


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
        found = understand(reply, self.bundle.manifest, len(images_rgb), times)
        return results_of(found, placements, times, reply.sent_bytes, len(reply.body))

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
        self.head, self.tail = head, Tail(head.bundle, tail, self.options)

    def infer_batch(self, images_rgb: Sequence[np.ndarray]) -> List[EdgeResult]:
        times = StageTimes()
        with times.measure("preprocess"):
            inputs, placements = self._inputs(images_rgb)
        with times.measure("head"):
            features = self.head.run(inputs)
        found = self.tail.run(features, times)
        return results_of(found, placements, times, 0, 0, EDGE)


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
        query = {"bundle": self.bundle.manifest.fingerprint, **self.options.to_map()}
        reply = self.link.post("/v1/infer-image", jpeg, "image/jpeg", query)
        found = understand(reply, self.bundle.manifest, 1, times)
        return results_of(found, [placement], times, reply.sent_bytes, len(reply.body))[0]
