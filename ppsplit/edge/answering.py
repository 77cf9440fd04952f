"""An answer for every frame in its time: the cloud's, the tail's here, or none.

Nothing here waits for the network without a limit of its own: what the system may block (looking up a name, say)
blocks a thread that nobody waits for.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Callable, Dict, Mapping, Optional, Tuple

import numpy as np

from ppsplit.bundle import Manifest
from ppsplit.classification import Classification
from ppsplit.decode import CLASSIFY
from ppsplit.detections import Detections
from ppsplit.edge.answer import CLOUD, EDGE, RAW, STALE, EdgeResult, Found, results_of, understand
from ppsplit.edge.exchange import TIMED_OUT, Reply
from ppsplit.edge.link import Link
from ppsplit.edge.points import OperatingPoint
from ppsplit.edge.tail import Tail, no_features
from ppsplit.edge.timing import DurationEstimate, StageTimes
from ppsplit.errors import LinkError
from ppsplit.image import Placement
from ppsplit.runtime import Tensors
from ppsplit.wire import FEATURES_TYPE

MARGIN_S = 0.01  # for handing things from thread to thread
LEAST_RESERVE_S = 0.03  # a board has other things to do, too, now and then
SENDERS_A_WORKER = 2  # one may hang in the system for a while
WARM_UP_RUNS = 3  # the first is slow and does not count
INTERNAL, UNENCODABLE = "internal", "unencodable"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """A frame between its head and its answer.

    Attributes:
        point: how it was made.
        taken, deadline: of `time.monotonic`.
        placement: where the picture lies in the network's input.
        features: what the head made of it.
        body: the message; empty where the features have no code.
        times: of the stages so far.
    """

    point: OperatingPoint
    taken: float
    deadline: float
    placement: Placement
    features: Tensors
    body: bytes
    times: StageTimes

    @property
    def edge_ms(self) -> float:
        """What the stages so far took."""
        return sum(self.times.per_image(1).values())


@dataclass(frozen=True)
class Transfer:
    """What a request showed of the link.

    Attributes:
        point: whose message it was.
        payload_bytes: of the message.
        network_ms: the round trip less the server's stages; where none came back in time, how long it was waited for.
        server_ms: of the server's stages.
        in_time: whether an answer came.
    """

    point: OperatingPoint
    payload_bytes: int
    network_ms: float
    server_ms: float
    in_time: bool


class Answerer:
    """Answers frames, `workers` at a time.

    Args:
        manifest: the bundle's.
        link: to the cloud; it has to fail fast.
        tails: cut to what finishes a frame here; may be empty.
        workers: frames that are in work at once.
        on_transfer: told of every request that was sent.
    """

    def __init__(
        self,
        manifest: Manifest,
        link: Link,
        tails: Mapping[str, Tail],
        workers: int,
        on_transfer: Callable[[Transfer], None],
    ) -> None:
        self._manifest, self._link, self._tails, self._workers = manifest, link, dict(tails), workers
        self._on_transfer = on_transfer
        self._estimates: Dict[str, DurationEstimate] = {cut: DurationEstimate() for cut in tails}
        senders = SENDERS_A_WORKER * workers
        self._idle_senders = threading.Semaphore(senders)
        self._senders = ThreadPoolExecutor(senders, thread_name_prefix="link")
        self._tail_thread = ThreadPoolExecutor(1, thread_name_prefix="tail")

    def warm_up(self, points: Mapping[str, OperatingPoint]) -> None:
        """Run each tail, to see how long it takes; `points`: one by each cut. Raises InferenceRuntimeError."""
        for cut, tail in self._tails.items():
            if cut in points:
                features = no_features(points[cut].cut)
                self._tail_thread.submit(tail.run, features, StageTimes()).result()
                for _ in range(WARM_UP_RUNS):
                    self._tail_thread.submit(self._run_tail, cut, features, StageTimes()).result()

    def reserved_s(self, cut: str, whole_s: float) -> float:
        """What of a frame's time is kept for the tail; nothing where that would not do."""
        if cut not in self._tails:
            return 0.0
        bound_s = max(self._estimates[cut].bound_ms / 1000, min(LEAST_RESERVE_S, whole_s / 8))
        # in the worst case all frames in work come for the one tail at once
        return next((n * bound_s for n in (self._workers, 1) if n * bound_s < whole_s), 0.0)

    def answer(self, work: Work) -> EdgeResult:
        """The frame's answer, in time. Never raises for what happens between the halves."""
        cut = work.point.cut.name
        give_up = work.deadline - MARGIN_S - self.reserved_s(cut, work.deadline - work.taken)
        result, reason = self._ask_cloud(work, give_up)
        if result is not None:
            return result
        times = work.times.copy()
        found = self._finish_here(work, times)
        if found is not None:
            return results_of(found, [work.placement], times, 0, 0, EDGE, reason)[0]
        return nothing(self._manifest, work.placement.original_hw, work.times, reason)

    def close(self) -> None:
        """Take no more frames; what runs is not waited for."""
        self._senders.shutdown(wait=False)
        self._tail_thread.shutdown(wait=False)

    def _ask_cloud(self, work: Work, give_up: float) -> Tuple[Optional[EdgeResult], str]:
        """The cloud's answer, or None and the reason."""
        if not work.body:
            return None, UNENCODABLE
        start = time.monotonic()
        if give_up <= start:
            return None, TIMED_OUT
        if not self._idle_senders.acquire(blocking=False):
            return None, TIMED_OUT  # all of them hang in the system, for longer than a frame may take
        try:
            future = self._senders.submit(self._send, work, give_up)
            reply, found, times = future.result(give_up - time.monotonic())
        except LinkError as error:
            if error.reason == TIMED_OUT:
                self._tell(work, time.monotonic() - start)
            return None, error.reason
        except FutureTimeoutError:
            self._tell(work, time.monotonic() - start)
            return None, TIMED_OUT
        except Exception:
            log.exception("the answer to a frame failed here")
            return None, INTERNAL
        network_ms = times.per_image(1)["network"]
        self._on_transfer(
            Transfer(work.point, reply.sent_bytes, network_ms, reply.round_trip_ms - network_ms, in_time=True)
        )
        return results_of(found, [work.placement], times, reply.sent_bytes, len(reply.body), CLOUD)[0], ""

    def _tell(self, work: Work, waited_s: float) -> None:
        self._on_transfer(Transfer(work.point, len(work.body), waited_s * 1000, 0.0, in_time=False))

    def _send(self, work: Work, give_up: float) -> Tuple[Reply, Found, StageTimes]:
        try:
            reply = self._link.post("/v1/infer", work.body, FEATURES_TYPE, deadline=give_up - MARGIN_S / 2)
            times = work.times.copy()  # the frame's own may be in use again, if this comes too late
            return reply, understand(reply, self._manifest, 1, times), times
        finally:
            self._idle_senders.release()

    def _finish_here(self, work: Work, times: StageTimes) -> Optional[Found]:
        """The tail's answer, or None where there is no tail, no time, or the tail failed."""
        cut = work.point.cut.name
        remaining_s = work.deadline - MARGIN_S / 2 - time.monotonic()
        if cut not in self._tails or remaining_s < self._estimates[cut].mean_ms / 1000:
            return None
        future = self._tail_thread.submit(self._run_tail, cut, work.features, times.copy())
        try:
            found, taken = future.result(remaining_s)
        except FutureTimeoutError:
            future.cancel()  # if it has not begun
            return None
        except Exception:
            log.exception("the tail failed on a frame")
            return None
        for stage in ("tail", "decode"):
            times.add(stage, taken.per_image(1)[stage])
        return found

    def _run_tail(self, cut: str, features: Tensors, times: StageTimes) -> Tuple[Found, StageTimes]:
        start = time.monotonic()
        found = self._tails[cut].run(features, times)
        self._estimates[cut].observe((time.monotonic() - start) * 1000)
        return found, times


def nothing(manifest: Manifest, image_hw: Tuple[int, int], times: StageTimes, reason: str) -> EdgeResult:
    """The answer where nobody could give one: nothing seen, and marked so."""
    family, detections, classes = manifest.decode.family, None, None
    if family == CLASSIFY:
        classes = Classification(np.zeros(0, np.int64), np.zeros(0, np.float32))
    elif family != RAW:
        detections = Detections.empty()
    return EdgeResult(image_hw, detections, None, times.per_image(1), 0, 0, classes, STALE, reason)
