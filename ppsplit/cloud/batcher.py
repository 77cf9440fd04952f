"""Requests gathered into batches and run in one thread, or some. Knows arrays, not what they mean.

A batch is what stands in the queue when a thread is free: at low load that is one request, which is run at once,
and while a batch runs the next one gathers by itself. Only where the batch before had several requests does the
thread wait a little for as many: those who were just answered tend to ask again together.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Callable, Deque, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ppsplit.cloud.refusal import RefusedError, deadline_passed
from ppsplit.errors import ConfigError

RUNS_REMEMBERED = 9  # their median tells how long an image takes; the first run, which loads, does not bend it

Key = Tuple[str, str]
Tensors = Dict[str, np.ndarray]
Run = Callable[[Key, Mapping[str, np.ndarray]], Tensors]


@dataclass
class Done:
    """What came out of a job.

    Attributes:
        outputs: of this job's images alone.
        queue_ms: from `submit` until its batch began.
        run_ms: of the whole batch.
        batch_images: how many images ran together.
    """

    outputs: Tensors
    queue_ms: float
    run_ms: float
    batch_images: int


@dataclass(eq=False)  # two jobs are never the same one
class _Job:
    key: Key
    feeds: Mapping[str, np.ndarray]
    images: int
    deadline_s: Optional[float]
    worker: Optional[int]
    arrived_s: float = field(default_factory=time.monotonic)
    done: "Future[Done]" = field(default_factory=Future)


class Batcher:
    """A queue, and the threads that run what stands in it.

    Args:
        runs: compute outputs from feeds for a key; each is called in a thread of its own alone.
        max_batch: the most images that run together; 1 runs every job alone.
        max_wait_ms: how long a job may be kept waiting for others while the thread is free.
        on_batch: told the number of images of every batch that ran.

    Raises:
        ConfigError: max_batch below 1, or a negative wait.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        max_batch: int = 1,
        max_wait_ms: float = 0.0,
        on_batch: Callable[[int], None] = lambda images: None,
    ) -> None:
        if max_batch < 1:
            raise ConfigError(f"max_batch is {max_batch}; expected at least 1")
        if not 0 <= max_wait_ms <= 1000:
            raise ConfigError(f"max_wait_ms is {max_wait_ms}; expected 0 to 1000")
        self._on_batch = on_batch
        self._max_batch, self._max_wait_s = max_batch, max_wait_ms / 1000
        self._queue: Deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._running: Dict[int, Tuple[int, float]] = {}  # by thread: images, and since when
        self._last_jobs = [1] * len(runs)
        self._lately_s_per_image: Deque[float] = deque(maxlen=RUNS_REMEMBERED)
        self._threads = [
            threading.Thread(target=self._loop, args=(worker, run), name=f"inference-{worker}", daemon=True)
            for worker, run in enumerate(runs)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """Images that run now."""
        return sum(images for images, _ in self._running.values())

    def submit(
        self,
        key: Key,
        feeds: Mapping[str, np.ndarray],
        images: int,
        deadline_s: Optional[float] = None,
        worker: Optional[int] = None,
    ) -> "Future[Done]":
        """Put a job into the queue.

        Args:
            key: jobs of one key may run together; their arrays then differ in their first size alone.
            feeds: arrays with `images` as their first size.
            deadline_s: by `time.monotonic()`; a job that did not begin by then is dropped.
            worker: the number of the thread that is to run it; None for any.

        Returns:
            the result to come; RefusedError when the deadline passed, else what `run` raised for this job's feeds.

        Raises:
            RefusedError: what stands in front will take longer than the deadline allows; or the batcher is closed.
        """
        job = _Job(key, feeds, images, deadline_s, worker)
        with self._changed:
            if self._closed:
                raise RefusedError(503, "shutting_down", "the bundle is no longer served here; ask again")
            expected_s = self._expected_wait_s()
            if deadline_s is not None and expected_s and job.arrived_s + expected_s > deadline_s:
                raise RefusedError(
                    503,
                    "overloaded",
                    f"those in front need some {expected_s * 1000:.0f} ms, which is more than the request has left",
                    round(expected_s),
                )
            self._queue.append(job)
            self._changed.notify_all()
        return job.done

    def close(self) -> None:
        """Take nothing more, finish what is in the queue, end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _expected_wait_s(self) -> float:
        """How long what is in front of a new job will take, by what images took lately."""
        if not self._lately_s_per_image:
            return 0.0
        s_per_image = statistics.median(self._lately_s_per_image)
        now = time.monotonic()
        expected_s = sum(job.images for job in self._queue) * s_per_image
        for images, began_s in self._running.values():
            expected_s += max(0.0, images * s_per_image - (now - began_s))
        idle = len(self._running) < len(self._threads) and not self._queue
        return 0.0 if idle else expected_s / len(self._threads)

    def _loop(self, worker: int, run: Run) -> None:
        while True:
            jobs = self._gather(worker)
            if jobs is None:
                return
            try:
                self._run_jobs(jobs, run)
            except BaseException as error:  # the thread must live, and nobody may wait for ever
                for job in jobs:
                    if not job.done.done():
                        job.done.set_exception(error)
            with self._changed:
                del self._running[worker]
            del jobs  # not to hold the arrays until the next batch comes

    def _gather(self, worker: int) -> Optional[List[_Job]]:
        """The next jobs to run together, oldest first; None when closed and the queue is empty."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._open_to(worker) or self._closed)
                self._drop_late()
                if self._open_to(worker):
                    self._wait_for_company(worker)
                elif self._closed:
                    return None
                jobs = self._take(worker)
                if jobs:
                    self._running[worker] = sum(job.images for job in jobs), time.monotonic()
                    self._last_jobs[worker] = len(jobs)
                    return jobs

    def _open_to(self, worker: int) -> List[_Job]:
        return [job for job in self._queue if job.worker in (None, worker)]

    def _wait_for_company(self, worker: int) -> None:
        while not self._closed:
            jobs = self._open_to(worker)
            if len(jobs) >= self._last_jobs[worker] or sum(job.images for job in jobs) >= self._max_batch or not jobs:
                return
            left_s = jobs[0].arrived_s + self._max_wait_s - time.monotonic()
            if left_s <= 0:
                return
            self._changed.wait(left_s)

    def _take(self, worker: int) -> List[_Job]:
        self._drop_late()
        taken: List[_Job] = []
        images = 0
        for job in self._open_to(worker):
            if taken and (job.key != taken[0].key or images + job.images > self._max_batch):
                continue
            taken.append(job)
            images += job.images
            if images >= self._max_batch:
                break
        for job in taken:
            self._queue.remove(job)
        return taken

    def _drop_late(self) -> None:
        now = time.monotonic()
        late = [job for job in self._queue if job.deadline_s is not None and now > job.deadline_s]
        for job in late:
            self._queue.remove(job)
            job.done.set_exception(deadline_passed())

    def _run_jobs(self, jobs: Sequence[_Job], run: Run) -> None:
        """Answer every job. Where the batch fails or an output is not finite, the jobs concerned run again alone."""
        began_s = time.monotonic()
        images = sum(job.images for job in jobs)
        try:
            if len(jobs) == 1:
                feeds = jobs[0].feeds
            else:
                feeds = {name: np.concatenate([job.feeds[name] for job in jobs]) for name in jobs[0].feeds}
            outputs = run(jobs[0].key, feeds)
        except BaseException as error:
            if len(jobs) == 1:
                jobs[0].done.set_exception(error)
            else:
                self._run_alone(jobs, run)
            return
        run_s = time.monotonic() - began_s
        self._note(images, run_s)
        doubtful: List[_Job] = []
        start = 0
        for job in jobs:
            own = outputs
            if len(jobs) > 1:
                own = {name: array[start : start + job.images] for name, array in outputs.items()}
            start += job.images
            if len(jobs) > 1 and not all_finite(own):
                doubtful.append(job)
                continue
            job.done.set_result(Done(own, (began_s - job.arrived_s) * 1000, run_s * 1000, images))
        self._run_alone(doubtful, run)

    def _run_alone(self, jobs: Sequence[_Job], run: Run) -> None:
        for job in jobs:
            if job.deadline_s is not None and time.monotonic() > job.deadline_s:
                job.done.set_exception(deadline_passed())
            else:
                self._run_jobs([job], run)

    def _note(self, images: int, run_s: float) -> None:
        self._on_batch(images)
        with self._changed:
            self._lately_s_per_image.append(run_s / images)


def all_finite(tensors: Mapping[str, np.ndarray]) -> bool:
    """Whether no array holds a NaN or an infinity."""
    return all(np.isfinite(tensor).all() for tensor in tensors.values())
