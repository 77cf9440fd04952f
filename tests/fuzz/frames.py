"""Frames against the cloud's reader: `unpack`, then the codec of the encoding that the frame names."""

from __future__ import annotations

import hashlib
import random
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, List

import numpy as np

from ppsplit.bundle import Clip, TensorSpec
from ppsplit.codec import ENCODINGS, FEATURE, EncodedTensor, FeatureCodec
from ppsplit.codec.learned import LearnedCodec
from ppsplit.codec.mosaic import MOSAIC, MosaicCodec
from ppsplit.errors import CodecError, OptionsError, WireError
from ppsplit.runtime.memory import peak_rss_bytes
from ppsplit.wire import FeatureMessage, Options, TensorMessage, WireTensor, pack, unpack
from tests.codec.integer_tables import tables_for
from tests.fuzz.mutations import mutate_bytes, mutate_message

CORPUS = Path(__file__).with_name("corpus")
MAX_BATCH = 4
SPECS = (TensorSpec("map", (-1, 6, 5, 7), "float32"), TensorSpec("sizes", (-1, 2), "int64"))
CLIPS = {bits: {"map": Clip(-2.0, 3.0)} for bits in ("8", "4")}


def codec(encoding: str) -> "FeatureCodec | LearnedCodec | MosaicCodec":
    """The codec of a small cut of two tensors."""
    if encoding == MOSAIC:
        return MosaicCodec(SPECS, CLIPS, None, MAX_BATCH)
    if encoding == FEATURE:
        return LearnedCodec(SPECS, tables_for({"map": 6}), 50, None, MAX_BATCH)
    return FeatureCodec(SPECS, encoding, CLIPS, max_batch=MAX_BATCH)


def seeds() -> Dict[str, bytes]:
    """Good frames by name: each encoding with one image and with two, and an answer of raw outputs."""
    rng = np.random.default_rng(0)
    frames = {}
    for encoding in ENCODINGS:
        for batch in (1, 2):
            tensors = {"map": rng.normal(0, 1, (batch, 6, 5, 7)).astype("float32"), "sizes": np.ones((batch, 2), "i8")}
            sent = tuple(WireTensor(*tensor) for tensor in codec(encoding).encode(tensors))
            message = FeatureMessage("f" * 64, "deep", encoding, sent, Options(0.3, 0.5, 20))
            frames[f"{encoding}-{batch}"] = pack(message)
            if encoding == "fp32":
                frames[f"tensors-{batch}"] = pack(TensorMessage("f" * 64, encoding, sent, {"tail": 3.5}))
    return frames


class FrameReader:
    """What the cloud does with a frame before any program runs."""

    def __init__(self) -> None:
        self._codecs = {encoding: codec(encoding) for encoding in ENCODINGS}

    def read(self, frame: bytes) -> bool:
        """Whether it was taken.

        Raises:
            AssertionError: a tensor came out that the cut does not have, or in another shape.
            Exception: anything but the errors that a frame may cause.
        """
        try:
            tensors = self._decode(frame)
        except (WireError, CodecError, OptionsError):
            return False
        assert [*tensors] == [spec.name for spec in SPECS]
        for spec in SPECS:
            array = tensors[spec.name]
            assert array.shape[1:] == spec.shape[1:] and array.dtype == spec.dtype and len(array) <= MAX_BATCH
        return True

    def refusal(self, frame: bytes) -> str:
        """Which lines of code refuse the frame; empty where it is taken."""
        try:
            self._decode(frame)
        except (WireError, CodecError, OptionsError) as error:
            return " ".join(f"{entry.name}:{entry.lineno}" for entry in traceback.extract_tb(error.__traceback__))
        return ""

    def _decode(self, frame: bytes) -> Dict[str, np.ndarray]:
        message = unpack(frame)
        if message.encoding not in self._codecs:
            raise CodecError("unknown encoding")
        return self._codecs[message.encoding].decode([EncodedTensor(*tensor) for tensor in message.tensors])


@dataclass
class Figures:
    """What a run was like. Times are of single frames."""

    frames: int = 0
    taken: int = 0
    damaged: int = 0
    slowest_ms: float = 0.0
    rss_growth_mib: float = 0.0
    seconds: float = 0.0
    failures: List[str] = field(default_factory=list)


def fuzz_frames(count: int, seed: int = 0, advance: Callable[[], object] = int) -> Figures:
    """Read `count` mutated frames.

    Half of them are damaged behind the checksum's back, as a bad link would do it, and must all be refused; in the
    other half the checksum is right, as an attacker would have it. Frames that fail are kept in `CORPUS`.
    """
    rng, reader, figures = random.Random(seed), FrameReader(), Figures()
    good, refused = [*seeds().values()], [path.read_bytes() for path in sorted(CORPUS.glob("*.frame"))]
    start, peak = time.perf_counter(), 0
    for number in range(count):
        damaged = rng.random() < 0.5
        mutated = (mutate_bytes if damaged else mutate_message)(rng.choice(good), [*good, *refused], rng)
        _read(reader, mutated, damaged and mutated not in good, figures)
        if number == count // 10:
            peak = peak_rss_bytes()  # by now everything has been loaded once
        advance()
    figures.seconds = round(time.perf_counter() - start, 1)
    figures.rss_growth_mib = round((peak_rss_bytes() - peak) / 2**20, 1)
    figures.slowest_ms = round(figures.slowest_ms, 1)
    return figures


def _read(reader: FrameReader, frame: bytes, damaged: bool, figures: Figures) -> None:
    start = time.perf_counter()
    try:
        taken = reader.read(frame)
        assert not (taken and damaged), "a frame was damaged on the way and taken"
    except BaseException as error:
        figures.failures.append(f"{type(error).__name__}: {error} ({_kept(frame)})"[:300])
        if not isinstance(error, Exception):
            raise
        taken = False
    figures.frames += 1
    figures.taken += taken
    figures.damaged += damaged
    figures.slowest_ms = max(figures.slowest_ms, (time.perf_counter() - start) * 1000)


def _kept(frame: bytes) -> str:
    CORPUS.mkdir(exist_ok=True)
    path = CORPUS / f"{hashlib.sha256(frame).hexdigest()[:12]}.frame"
    path.write_bytes(frame)
    return path.name


def keep_one_of_each_refusal(count: int, seed: int = 0) -> int:
    """Add to `CORPUS`, of `count` mutated frames, the shortest for each place that refuses one; returns how many."""
    rng, good, reader = random.Random(seed), [*seeds().values()], FrameReader()
    shortest: Dict[str, bytes] = {}
    for _ in range(count):
        mutated = rng.choice((mutate_bytes, mutate_message))(rng.choice(good), good, rng)
        reason = reader.refusal(mutated)
        if reason and len(mutated) < len(shortest.get(reason, mutated + b" ")):
            shortest[reason] = mutated
    for frame in shortest.values():
        _kept(frame)
    return len(shortest)
