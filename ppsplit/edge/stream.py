"""A stream of frames to answers: each in its time, in order, none twice, marked with where it came from.

The head of a frame runs while earlier frames are on the network. Each frame's clock starts when its head does, and
the answer to an earlier frame is due earlier, so that giving the answers in order makes none of them late.
"""

from __future__ import annotations

import dataclasses
import logging
import queue
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Iterator, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from ppsplit.edge.adapt import AdaptivePolicy
from ppsplit.edge.answer import STALE, EdgeResult
from ppsplit.edge.answering import Answerer, Transfer, Work
from ppsplit.edge.frame_queue import FrameQueue
from ppsplit.edge.frames import Frame, Source
from ppsplit.edge.link import Link
from ppsplit.edge.points import OperatingPoint
from ppsplit.edge.tail import Tail
from ppsplit.edge.timing import StageTimes
from ppsplit.errors import CodecError, ConfigError
from ppsplit.image import to_input
from ppsplit.runtime import Runtime
from ppsplit.wire import FeatureMessage, Options, WireTensor, pack

DEFAULT_DEADLINE_MS = 1000.0
DEFAULT_DEPTH = 2
DEFAULT_WAITING = 2
PING_TIMEOUT_S, PING_INTERVAL_S = 1.0, 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StreamAnswer:
    """A frame and its answer.

    Attributes:
        index: of the frames that were taken up, from 0, without a gap.
        frame: name and picture.
        result: the answer.
        latency_ms: from taking it up to the answer.
        dropped: frames of the source that were never taken up, until now.
        point: the operating point's name.
    """

    index: int
    frame: Frame
    result: EdgeResult
    latency_ms: float
    dropped: int
    point: str


class StreamClient:
    """Frames to answers, whatever happens between the halves.

    Args:
        points: ways to make a message; the first is used where there is no policy.
        link: to the cloud; it has to fail fast.
        tails: cut to the tail's program, to finish frames here when the cloud does not.
        options: for decoding.
        deadline_ms: for each frame, from the start of its head.
        depth: frames in work at once, head and network together; 1 does one after the other.
        waiting: how many frames of a live source wait at most.
        policy: chooses among the points; None stays with the first.

    Raises:
        ConfigError: no points, or a number out of range.
    """

    def __init__(
        self,
        points: Sequence[OperatingPoint],
        link: Link,
        tails: Optional[Mapping[str, Runtime]] = None,
        options: Optional[Options] = None,
        deadline_ms: float = DEFAULT_DEADLINE_MS,
        depth: int = DEFAULT_DEPTH,
        waiting: int = DEFAULT_WAITING,
        policy: Optional[AdaptivePolicy] = None,
    ) -> None:
        if not points:
            raise ConfigError("a stream needs at least one operating point")
        if not 0 < deadline_ms < 1e9 or depth < 1 or waiting < 1:
            raise ConfigError("the deadline has to be above 0 ms, and depth and waiting frames at least 1")
        self.bundle = points[0].head.bundle
        self._points, self._link, self._policy = list(points), link, policy
        self._options = options or Options()
        self._deadline_s, self._depth, self._waiting = deadline_ms / 1000, depth, waiting
        self._head_thread = ThreadPoolExecutor(1, thread_name_prefix="head")
        self._finishers = ThreadPoolExecutor(depth, thread_name_prefix="finish")
        finishing = {cut: Tail(self.bundle, runtime, self._options) for cut, runtime in (tails or {}).items()}
        self._answerer = Answerer(self.bundle.manifest, link, finishing, depth, self._learn)
        self._streaming = threading.Lock()
        self._warm = False

    def stream(self, source: Source) -> Iterator[StreamAnswer]:
        """The answers to the source's frames, as they come; one stream at a time.

        Raises:
            ConfigError: another stream is still running.
            DataError: the source has no frames, or fails.
            InferenceRuntimeError: the head does not take a picture.
        """
        if not self._streaming.acquire(blocking=False):
            raise ConfigError("this client has a stream already; end that one, or make another client")
        run = _Run(FrameQueue(self._waiting, source.live), self._depth)
        try:
            self._warm_up()
            threading.Thread(target=_read, args=(source, run.waiting), name="source", daemon=True).start()
            if self._policy is not None:
                threading.Thread(target=self._ping, args=(run, self._policy), name="ping", daemon=True).start()
            head = self._head_thread.submit(self._run_heads, run)
            yield from self._in_order(run, source.continuous)
            head.result()
        finally:
            run.stop()
            self._streaming.release()

    def close(self) -> None:
        """End the threads and close the link."""
        self._answerer.close()
        self._head_thread.shutdown(wait=False)
        self._finishers.shutdown(wait=False)
        self._link.close()

    def __enter__(self) -> StreamClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _warm_up(self) -> None:
        """Everything that is slow the first time, before the first frame's clock starts."""
        if self._warm:
            return
        input_hw = self.bundle.manifest.preprocess.input_hw
        blank = Frame("", np.zeros((*input_hw, 3), np.uint8))
        for _ in range(2):  # only the second time is worth measuring
            for point in self._points:
                work = self._head_thread.submit(self._make, point, blank, time.monotonic()).result()
                if self._policy is not None and self._warm:
                    self._policy.observe_edge(self._points.index(point), work.edge_ms)
            self._warm = True
        self._answerer.warm_up({point.cut.name: point for point in self._points})

    def _run_heads(self, run: _Run) -> None:
        """In the head's thread: frame after frame, as slots get free; ends with None in `run.pending`, or an error."""
        try:
            while run.slots.acquire() and not run.stopped.is_set():
                frame = run.waiting.take()
                if frame is None:
                    break
                taken = time.monotonic()
                index = self._policy.current if self._policy else 0
                work = self._make(self._points[index], frame, taken)
                if self._policy is not None:
                    self._policy.observe_edge(index, work.edge_ms)
                run.pending.put((frame, work, self._finishers.submit(self._finish, work)))
            run.pending.put(None)
        except BaseException as error:
            run.pending.put(error)

    def _make(self, point: OperatingPoint, frame: Frame, taken: float) -> Work:
        """The head's part of a frame. Raises InferenceRuntimeError."""
        times, manifest = StageTimes(), self.bundle.manifest
        with times.measure("preprocess"):
            inputs, placement = to_input(frame.image_rgb, manifest.preprocess)
        with times.measure("head"):
            features = point.head.run([inputs])
        with times.measure("encode"):
            try:
                tensors = tuple(WireTensor(*tensor) for tensor in point.codec.encode(features))
                message = FeatureMessage(
                    manifest.fingerprint, point.cut.name, point.codec.encoding, tensors, self._options
                )
                body = pack(message)
            except CodecError as error:
                log.warning("frame %s cannot be sent: %s", frame.name, error)
                body = b""
        return Work(point, taken, taken + self._deadline_s, placement, features, body, times)

    def _finish(self, work: Work) -> _Answered:
        result = self._answerer.answer(work)
        return _Answered(result, (time.monotonic() - work.taken) * 1000)

    def _in_order(self, run: _Run, continuous: bool) -> Iterator[StreamAnswer]:
        last: Optional[EdgeResult] = None
        index = 0
        while True:
            entry = run.pending.get()
            if entry is None:
                return
            if isinstance(entry, BaseException):
                raise entry
            frame, work, future = entry
            answered = future.result()
            result = answered.result
            if result.origin != STALE:
                last = result
            elif continuous and last is not None and last.image_hw == result.image_hw:
                result = _again(last, result)
            run.slots.release()
            yield StreamAnswer(index, frame, result, answered.latency_ms, run.waiting.dropped, work.point.name)
            index += 1

    def _learn(self, seen: Transfer) -> None:
        if self._policy is not None:
            index = self._points.index(seen.point)
            self._policy.observe(index, seen.payload_bytes, seen.network_ms, seen.server_ms, seen.in_time)

    def _ping(self, run: _Run, policy: AdaptivePolicy) -> None:
        """In a thread of its own: the round trip without a payload, now and then."""
        while not run.stopped.is_set():
            round_trip_ms = self._link.round_trip_ms(PING_TIMEOUT_S)
            if round_trip_ms is not None:
                policy.observe_round_trip(round_trip_ms)
            run.stopped.wait(PING_INTERVAL_S)


@dataclass(frozen=True)
class _Answered:
    result: EdgeResult
    latency_ms: float


class _Run:
    """What one stream's threads share."""

    def __init__(self, waiting: FrameQueue, depth: int) -> None:
        self.waiting = waiting
        self.slots = threading.Semaphore(depth)
        self.stopped = threading.Event()
        # frames in order with what will be their answer; then None, or what ended the stream
        self.pending: queue.Queue[Union[None, BaseException, Tuple[Frame, Work, Future[_Answered]]]] = queue.Queue()

    def stop(self) -> None:
        """Wake everybody, to end."""
        self.stopped.set()
        self.waiting.close()
        self.slots.release()


def _again(last: EdgeResult, result: EdgeResult) -> EdgeResult:
    """What was last known, in the place of a result that knows nothing."""
    reason = result.degraded_reason
    return dataclasses.replace(
        last, times_ms=result.times_ms, payload_bytes=0, received_bytes=0, origin=STALE, degraded_reason=reason
    )


def _read(source: Source, waiting: FrameQueue) -> None:
    """In the source's thread."""
    try:
        for frame in source.frames():
            if not waiting.put(frame):
                return
        waiting.end()
    except BaseException as error:
        waiting.end(error)
