"""What the cloud half computes: features to detections, or classes. Knows frames and bundles, not HTTP."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from functools import partial
from typing import Callable, Dict, Mapping, Optional, Tuple

import numpy as np

from ppsplit.bundle import FULL, TAIL, Bundle, Cut, TensorSpec
from ppsplit.cloud.batcher import Batcher, Key, all_finite
from ppsplit.cloud.jpeg import jpeg_hw
from ppsplit.cloud.programs import EngineOptions, Programs, is_open
from ppsplit.cloud.refusal import RefusedError, deadline_passed
from ppsplit.cloud.result import Result
from ppsplit.codec import FEATURE, Codec, EncodedTensor
from ppsplit.decode import CLASSIFY, Decoder, build_decoder
from ppsplit.errors import BundleError, InferenceRuntimeError
from ppsplit.image import decode_image, normalise
from ppsplit.runtime import Tensors
from ppsplit.wire import FeatureMessage, Options

RAW = "raw"
# names, options and msgpack around the tensors; JPEG's own headers
OVERHEAD_BYTES = 64 * 1024
DEFAULT_OPTIONS = EngineOptions()


class Engine:
    """The programs of one bundle, for any number of threads.

    Features are decoded, and outputs read, in the thread that asks. Programs run in the batcher's thread, or threads,
    each with programs of its own: a predictor must not be shared, and oneDNN keeps what it prepared for each thread
    apart, so that every other thread's first inference would be slow again.

    Args:
        bundle: what to serve.
        options: how.
        on_batch: told the number of images of every batch that ran.

    Raises:
        ConfigError: max_batch below 1.
    """

    def __init__(
        self,
        bundle: Bundle,
        options: EngineOptions = DEFAULT_OPTIONS,
        on_batch: Callable[[int], None] = lambda images: None,
    ) -> None:
        self.bundle, self.options, self.max_batch = bundle, options, options.max_batch
        manifest = bundle.manifest
        self._decoder: Optional[Decoder] = None
        if manifest.decode.family != RAW:
            self._decoder = build_decoder(manifest.decode, manifest.preprocess.input_hw)
        self._programs = [Programs(bundle, options) for _ in range(options.workers)]
        self._codecs: Dict[Tuple[str, str], Codec] = {}
        cuts = manifest.cuts
        self._joins = all(is_open(bundle, part, cut) for cut in cuts for part in (TAIL, FULL))
        runs = [partial(_run, programs) for programs in self._programs]
        self._batcher = Batcher(runs, options.max_batch if self._joins else 1, options.max_wait_ms, on_batch)
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
        """Load every program and run it, the tails with every size of a batch.

        After that nothing is read from the bundle's folder any more, so that another version may take its place, and
        oneDNN has what it keeps for each size, so that memory stays flat.

        Raises:
            BundleError, CodecError, InferenceRuntimeError: the bundle cannot be served.
        """
        for cut in self.bundle.manifest.cuts:
            if cut.learned is not None:
                self._codec(cut, FEATURE)
        # all of them first: what oneDNN has laid out it lays out anew, and keeps both, after another one was loaded
        for sizes in ((1,), range(1, self.max_batch + 1) if self._joins else (1,)):
            for cut in self.bundle.manifest.cuts:
                for images in sizes:
                    self._warm_up(TAIL, cut, cut.tensors, images)
            self._warm_up(FULL, self.bundle.cut(), (self.bundle.manifest.input,), 1)
        self._ready.set()

    def close(self) -> None:
        """Finish what was begun and free the programs. Raises nothing; what comes later is refused."""
        self._batcher.close()

    def infer(self, message: FeatureMessage, deadline_s: Optional[float] = None) -> Result:
        """Features to detections (or raw outputs).

        Args:
            deadline_s: by `time.monotonic()`; what has not begun to run by then is dropped, what has is not waited for.

        Raises:
            RefusedError: another bundle, no such cut, features that are not finite or that overflow the network, or
                the deadline cannot be held.
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
        images = message.tensors[0].shape[0] if message.tensors and message.tensors[0].shape else 1
        if images > self.max_batch:
            raise RefusedError(
                422,
                "bad_features",
                f"the message holds {images} pictures, the server takes at most {self.max_batch} together; "
                f"send fewer (client --batch-size {self.max_batch}), or serve with --max-batch {images}",
            )
        result = Result(cut.name)
        with result.timed("decode_features"):
            features = self._codec(cut, message.encoding).decode([EncodedTensor(*tensor) for tensor in message.tensors])
            if not all_finite(features):  # before it joins a batch with others
                raise RefusedError(422, "bad_features", "the features hold NaN or infinities; check the head")
        return self._finish(result, (TAIL, cut.name), features, images, message.options, deadline_s)

    def infer_image(self, jpeg: bytes, options: Options, deadline_s: Optional[float] = None) -> Result:
        """A JPEG of the network's input size to detections, the whole network here: the rival of any split.

        Raises:
            ImageError: not a JPEG.
            RefusedError: of another size, or the deadline cannot be held.
            InferenceRuntimeError: the program failed, or its outputs are not finite.
        """
        preprocess = self.bundle.manifest.preprocess
        result = Result(None)
        with result.timed("decode_features"):
            self._check_hw(jpeg_hw(jpeg))
            pixels = decode_image(jpeg, "the body")
            self._check_hw(pixels.shape[:2])  # again: an EXIF tag may have turned it
            feeds = {self.bundle.manifest.input.name: normalise(pixels, preprocess)}
        return self._finish(result, (FULL, self.bundle.cut().name), feeds, 1, options, deadline_s)

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

    def _warm_up(self, part: str, cut: Cut, entering: Tuple[TensorSpec, ...], images: int) -> None:
        zeros = {spec.name: np.zeros([_or(images, spec.shape[0]), *spec.shape[1:]], spec.dtype) for spec in entering}
        for worker in range(self.options.workers):
            self._batcher.submit((part, cut.name), zeros, images, worker=worker).result()

    def _finish(
        self, result: Result, key: Key, feeds: Tensors, images: int, options: Options, deadline_s: Optional[float]
    ) -> Result:
        waiting = self._batcher.submit(key, feeds, images, deadline_s)
        try:
            done = waiting.result(None if deadline_s is None else max(0.0, deadline_s - time.monotonic()))
        except concurrent.futures.TimeoutError:  # nobody waits for it any more; if it has not begun, it is dropped
            raise deadline_passed() from None
        result.times_ms["queue"], result.times_ms["tail"] = round(done.queue_ms, 3), round(done.run_ms, 3)
        if not all_finite(done.outputs):  # a NaN passes every threshold test by failing it
            if key[0] == TAIL:
                raise RefusedError(
                    422, "bad_features", "the features overflow the network; check the head that made them"
                )
            raise InferenceRuntimeError("the network's outputs are not finite for a picture; export the bundle again")
        with result.timed("decode"):
            if self._decoder is None:
                result.outputs = done.outputs
            else:
                decoded = self._decoder(done.outputs, **options.to_map())
                if self.bundle.manifest.decode.family == CLASSIFY:
                    result.classifications = decoded
                else:
                    result.detections = decoded
        return result


def _run(programs: Programs, key: Key, feeds: Mapping[str, np.ndarray]) -> Tensors:
    return programs.run(*key, feeds)


def _or(images: int, size: int) -> int:
    """A first size: open, or fixed by the bundle."""
    return images if size < 0 else size


def _bytes_per_image(spec: TensorSpec) -> int:
    return spec.elements_per_image * np.dtype(spec.dtype).itemsize + 1
