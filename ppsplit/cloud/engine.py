"""What the cloud half computes: features to detections, or classes. Knows frames and bundles, not HTTP."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Dict, Iterator, List, Mapping, Optional, Tuple

import numpy as np

from ppsplit.bundle import FULL, TAIL, Bundle, Cut, TensorSpec
from ppsplit.classification import Classification
from ppsplit.cloud.jpeg import jpeg_hw
from ppsplit.cloud.refusal import RefusedError
from ppsplit.codec import MAX_BATCH, Codec, EncodedTensor
from ppsplit.decode import CLASSIFY, Decoder, build_decoder
from ppsplit.detections import Detections
from ppsplit.errors import BundleError, InferenceRuntimeError
from ppsplit.image import decode_image, normalise
from ppsplit.runtime import Runtime, Tensors, run_part
from ppsplit.runtime.choice import load_part
from ppsplit.runtime.threads import check_threads
from ppsplit.wire import FeatureMessage, Options

RAW = "raw"
RUNTIME = "paddle"  # unless told otherwise
WARM_UP_RUNS = 3  # Paddle Inference still prepares things in its second run
# names, options and msgpack around the tensors; JPEG's own headers
OVERHEAD_BYTES = 64 * 1024


@dataclass
class Result:
    """What came out.

    Attributes:
        cut: where the network was divided, None for a whole picture.
        times_ms: decode_features (or the picture's decoding), tail (or the whole network), decode.
        detections: one for each image of the batch, boxes in input pixels; None where the family is "raw" or
            "classify".
        outputs: the network's raw outputs where the family is "raw", else None.
        classifications: one for each image of the batch where the family is "classify", else None.
    """

    cut: Optional[str]
    times_ms: Dict[str, float] = field(default_factory=dict)
    detections: Optional[List[Detections]] = None
    outputs: Optional[Tensors] = None
    classifications: Optional[List[Classification]] = None

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add what happens inside to `times_ms`."""
        start = time.perf_counter()
        yield
        self.times_ms[stage] = round((time.perf_counter() - start) * 1000, 3)


class Engine:
    """The programs of one bundle, for any number of threads.

    All programs run in one thread of the engine's own: a predictor must not be shared, and oneDNN keeps what it
    prepared for each thread apart, so that every other thread's first inference would be slow again.

    Args:
        bundle: what to serve.
        threads: of each program's runtime.
        max_batch: the largest batch a message may carry.
        runtime: of each program, of `runtime.choice.WHOLE`.

    Raises:
        ConfigError: threads below 1.
    """

    def __init__(self, bundle: Bundle, threads: int = 1, max_batch: int = MAX_BATCH, runtime: str = RUNTIME) -> None:
        check_threads(threads)
        self.bundle, self.threads, self.max_batch, self.runtime = bundle, threads, max_batch, runtime
        manifest = bundle.manifest
        self._decoder: Optional[Decoder] = None
        if manifest.decode.family != RAW:
            self._decoder = build_decoder(manifest.decode, manifest.preprocess.input_hw)
        self._programs: Dict[Tuple[str, str], Runtime] = {}
        self._codecs: Dict[Tuple[str, str], Codec] = {}
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._ready = threading.Event()

    @property
    def ready(self) -> bool:
        """Whether a warm-up inference has passed."""
        return self._ready.is_set()

    @property
    def max_body_bytes(self) -> int:
        """No message for this bundle can be longer."""
        sizes = [sum(_bytes_per_image(spec) for spec in cut.tensors) for cut in self.bundle.manifest.cuts]
        return max([*sizes, _bytes_per_image(self.bundle.manifest.input)]) * self.max_batch + OVERHEAD_BYTES

    def warm_up(self) -> None:
        """Run the first cut's tail on zeros. Raises BundleError, InferenceRuntimeError."""
        cut = self.bundle.cut()
        zeros = {spec.name: np.zeros([max(s, 1) for s in spec.shape], spec.dtype) for spec in cut.tensors}
        for _ in range(WARM_UP_RUNS):
            self._run(TAIL, cut, zeros)
        self._ready.set()

    def infer(self, message: FeatureMessage) -> Result:
        """Features to detections (or raw outputs).

        Raises:
            RefusedError: another bundle, no such cut, features that are not finite, or that overflow the network.
            CodecError: the tensors do not fit the cut.
            InferenceRuntimeError: the program failed.
        """
        manifest = self.bundle.manifest
        if message.bundle != manifest.fingerprint:
            raise RefusedError(
                409,
                "wrong_bundle",
                f"the features are of bundle {message.bundle[:12]!r}, served is "
                f"{manifest.fingerprint[:12]!r} ({manifest.name}); give both halves the same bundle",
            )
        cut = self._cut(message.cut)
        result = Result(cut.name)
        with result.timed("decode_features"):
            features = self._codec(cut, message.encoding).decode([EncodedTensor(*tensor) for tensor in message.tensors])
        return self._finish(result, TAIL, cut, features, message.options)

    def infer_image(self, jpeg: bytes, options: Options) -> Result:
        """A JPEG of the network's input size to detections, the whole network here: the rival of any split.

        Raises:
            ImageError: not a JPEG.
            RefusedError: of another size.
            InferenceRuntimeError: the program failed, or its outputs are not finite.
        """
        preprocess = self.bundle.manifest.preprocess
        result = Result(None)
        with result.timed("decode_features"):
            self._check_hw(jpeg_hw(jpeg))
            pixels = decode_image(jpeg, "the body")
            self._check_hw(pixels.shape[:2])  # again: an EXIF tag may have turned it
            feeds = {self.bundle.manifest.input.name: normalise(pixels, preprocess)}
        return self._finish(result, FULL, self.bundle.cut(), feeds, options)

    def _check_hw(self, hw: Tuple[int, ...]) -> None:
        expected = tuple(self.bundle.manifest.preprocess.input_hw)
        if tuple(hw) != expected:
            raise RefusedError(
                422,
                "bad_image",
                f"the picture is {hw[0]}x{hw[1]}, expected {expected[0]}x{expected[1]}; resize it first",
            )

    def _cut(self, name: str) -> Cut:
        try:
            return self.bundle.cut(name)
        except BundleError as error:
            raise RefusedError(404, "unknown_cut", str(error)) from error

    def _codec(self, cut: Cut, encoding: str) -> Codec:
        key = (cut.name, encoding)
        if key not in self._codecs:  # two threads may both make one; they are alike
            self._codecs[key] = Codec(self.bundle, cut, encoding, max_batch=self.max_batch)
        return self._codecs[key]

    def _finish(self, result: Result, part: str, cut: Cut, feeds: Tensors, options: Options) -> Result:
        with result.timed("tail"):
            outputs = self._run(part, cut, feeds)
        _check_finite(part, feeds, outputs)
        with result.timed("decode"):
            if self._decoder is None:
                result.outputs = outputs
            else:
                decoded = self._decoder(outputs, **options.to_map())
                if self.bundle.manifest.decode.family == CLASSIFY:
                    result.classifications = decoded
                else:
                    result.detections = decoded
        return result

    def _run(self, part: str, cut: Cut, feeds: Mapping[str, np.ndarray]) -> Tensors:
        return self._worker.submit(self._run_here, part, cut, feeds).result()

    def _run_here(self, part: str, cut: Cut, feeds: Mapping[str, np.ndarray]) -> Tensors:
        key = (part, cut.name if part == TAIL else "")
        if key not in self._programs:
            self._programs[key] = load_part(self.bundle, cut, part, self.runtime, threads=self.threads)
        return run_part(self._programs[key], feeds, [spec.name for spec in self.bundle.manifest.outputs])


def _bytes_per_image(spec: TensorSpec) -> int:
    return spec.elements_per_image * np.dtype(spec.dtype).itemsize + 1


def _check_finite(part: str, feeds: Tensors, outputs: Tensors) -> None:
    """A NaN passes every threshold test by failing it, so it must not get as far as the decoder."""
    if _all_finite(outputs):
        return
    if not _all_finite(feeds):
        raise RefusedError(
            422, "bad_features", "the features hold NaN or infinities and so would the result; check the head"
        )
    if part == TAIL:
        raise RefusedError(422, "bad_features", "the features overflow the network; check the head that made them")
    raise InferenceRuntimeError("the network's outputs are not finite for a picture; export the bundle again")


def _all_finite(tensors: Tensors) -> bool:
    return all(np.isfinite(tensor).all() for tensor in tensors.values())
