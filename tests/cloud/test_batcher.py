"""Requests run together: each gets its own result, also when one of them is bad, late or too much."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import Any, Iterator, List, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppsplit.cloud.batcher import Batcher, Done, Key, all_finite
from ppsplit.cloud.refusal import RefusedError
from ppsplit.errors import ConfigError, InferenceRuntimeError

KEY: Key = ("tail", "deep")
BAD, NOT_FINITE = 13.0, 14.0
WAIT_S = 20


class Network:
    """Doubles its input; fails or makes NaN of one image when it sees a bad one; can be held up."""

    def __init__(self) -> None:
        self.batches: List[List[float]] = []
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Event()

    def __call__(self, key: Key, feeds: Mapping[str, np.ndarray]) -> Any:
        x = feeds["x"]
        self.batches.append(x[:, 0].tolist())
        self.entered.set()
        assert self.go.wait(WAIT_S)
        if (x == BAD).any():
            raise InferenceRuntimeError("a bad image")
        return {"y": np.where(x == NOT_FINITE, np.nan, 2 * x)}


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def batcher(network: Network) -> Iterator[Batcher]:
    made = Batcher([network], max_batch=4)
    yield made
    network.go.set()
    made.close()


def images(*values: float) -> Mapping[str, np.ndarray]:
    return {"x": np.array(values, np.float32)[:, None]}


def submit(batcher: Batcher, *values: float, key: Key = KEY, deadline_s: Any = None) -> "Future[Done]":
    return batcher.submit(key, images(*values), len(values), deadline_s)


def hold(batcher: Batcher, network: Network) -> "Future[Done]":
    """Make the thread busy with a first job, so that others gather."""
    network.go.clear()
    network.entered.clear()
    first = submit(batcher, 0.0)
    assert network.entered.wait(WAIT_S)
    return first


def values(done: "Future[Done]") -> List[float]:
    return done.result(WAIT_S).outputs["y"][:, 0].tolist()


def test_a_job_alone_runs_at_once_and_alone(batcher: Batcher, network: Network) -> None:
    done = submit(batcher, 1.0, 2.0).result(WAIT_S)
    assert done.outputs["y"][:, 0].tolist() == [2.0, 4.0]
    assert (done.batch_images, network.batches) == (2, [[1.0, 2.0]])
    assert done.queue_ms >= 0 <= done.run_ms


def test_what_comes_while_one_runs_is_run_together(batcher: Batcher, network: Network) -> None:
    hold(batcher, network)
    jobs = [submit(batcher, float(value)) for value in range(1, 7)]
    network.go.set()
    assert [values(job) for job in jobs] == [[2.0 * value] for value in range(1, 7)]
    assert network.batches == [[0.0], [1.0, 2.0, 3.0, 4.0], [5.0, 6.0]]


def test_jobs_of_other_keys_are_not_mixed_and_not_starved(batcher: Batcher, network: Network) -> None:
    hold(batcher, network)
    other = ("full", "deep")
    jobs = [submit(batcher, float(value), key=other if value % 2 else KEY) for value in range(1, 5)]
    network.go.set()
    assert [values(job) for job in jobs] == [[2.0], [4.0], [6.0], [8.0]]
    assert network.batches == [[0.0], [1.0, 3.0], [2.0, 4.0]]


def test_a_batch_is_never_larger_than_allowed(batcher: Batcher, network: Network) -> None:
    hold(batcher, network)
    jobs = [submit(batcher, 1, 1, 1), submit(batcher, 2, 2), submit(batcher, 3)]
    network.go.set()
    assert [values(job) for job in jobs] == [[2, 2, 2], [4, 4], [6]]
    assert network.batches == [[0], [1, 1, 1, 3], [2, 2]]


@pytest.mark.parametrize("place", [0, 1, 3])
def test_only_the_guilty_gets_the_error(batcher: Batcher, network: Network, place: int) -> None:
    hold(batcher, network)
    sent = [1.0, 2.0, 3.0]
    sent.insert(place, BAD)
    jobs = [submit(batcher, value) for value in sent]
    network.go.set()
    for value, job in zip(sent, jobs):
        if value == BAD:
            with pytest.raises(InferenceRuntimeError, match="a bad image"):
                job.result(WAIT_S)
        else:
            assert values(job) == [2 * value]
    assert len(network.batches) == 1 + 1 + 4  # the first, the batch that failed, each alone


def test_only_the_guilty_gets_outputs_that_are_not_finite(batcher: Batcher, network: Network) -> None:
    hold(batcher, network)
    jobs = [submit(batcher, value) for value in (1.0, NOT_FINITE, 3.0)]
    network.go.set()
    assert [all_finite(job.result(WAIT_S).outputs) for job in jobs] == [True, False, True]
    assert network.batches == [[0.0], [1.0, NOT_FINITE, 3.0], [NOT_FINITE]]


@pytest.mark.parametrize("error", [MemoryError(), SystemExit(), KeyError("x")])
def test_whatever_is_raised_the_thread_lives(error: BaseException) -> None:
    def fail(key: Key, feeds: Any) -> Any:
        raise error

    batcher = Batcher([fail], max_batch=2)
    for _ in range(2):
        with pytest.raises(type(error)):
            submit(batcher, 1.0).result(WAIT_S)
    batcher.close()


def test_late_work_is_dropped_before_it_runs(batcher: Batcher, network: Network) -> None:
    first = hold(batcher, network)
    late = submit(batcher, 1.0, deadline_s=time.monotonic() + 0.02)
    in_time = submit(batcher, 2.0, deadline_s=time.monotonic() + 60)
    time.sleep(0.05)
    network.go.set()
    with pytest.raises(RefusedError) as caught:
        late.result(WAIT_S)
    assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == (503, "deadline_passed", 1)
    assert (values(first), values(in_time)) == ([0.0], [4.0])
    assert network.batches == [[0.0], [2.0]]


def test_what_cannot_be_in_time_is_refused_at_once(network: Network) -> None:
    def slow(key: Key, feeds: Mapping[str, np.ndarray]) -> Any:
        time.sleep(0.05 * len(feeds["x"]))
        return network(key, feeds)

    batcher = Batcher([slow], max_batch=4)
    values(submit(batcher, 0.0))  # from here on it knows how long an image takes
    hold(batcher, network)
    waiting = [submit(batcher, 1.0) for _ in range(20)]
    with pytest.raises(RefusedError) as caught:
        submit(batcher, 2.0, deadline_s=time.monotonic() + 0.1)
    assert (caught.value.status, caught.value.code) == (503, "overloaded")
    in_time = submit(batcher, 3.0, deadline_s=time.monotonic() + 60)
    network.go.set()
    assert [values(job) for job in (*waiting, in_time)] == [[2.0]] * 20 + [[6.0]]
    # alone again: nothing in front, so nothing can be too much
    assert values(submit(batcher, 4.0, deadline_s=time.monotonic() + 60)) == [8.0]
    batcher.close()


def test_after_a_batch_it_waits_for_as_many_but_not_for_long() -> None:
    network = Network()
    batcher = Batcher([network], max_batch=4, max_wait_ms=500)
    hold(batcher, network)
    pair = [submit(batcher, 1.0), submit(batcher, 2.0)]
    network.go.set()
    for job in pair:
        job.result(WAIT_S)
    third = submit(batcher, 3.0)
    time.sleep(0.05)
    fourth = submit(batcher, 4.0)  # well within the wait
    assert [values(third), values(fourth)] == [[6.0], [8.0]]
    assert network.batches == [[0.0], [1.0, 2.0], [3.0, 4.0]]
    alone = submit(batcher, 5.0).result(WAIT_S)  # waits in vain, then goes
    assert alone.queue_ms >= 400
    assert network.batches[-1] == [5.0]
    again = submit(batcher, 6.0).result(WAIT_S)  # the last batch had one request: no reason to wait
    assert again.queue_ms < 400
    batcher.close()


def test_closing_finishes_what_is_in_the_queue_and_takes_no_more(batcher: Batcher, network: Network) -> None:
    first = hold(batcher, network)
    second = submit(batcher, 1.0)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    time.sleep(0.02)
    with pytest.raises(RefusedError, match="no longer served") as caught:
        submit(batcher, 2.0)
    assert caught.value.code == "shutting_down"
    network.go.set()
    closing.join(WAIT_S)
    assert not closing.is_alive()
    assert (values(first), values(second)) == ([0.0], [2.0])


def test_two_threads_run_two_batches_at_once_and_each_its_own_work() -> None:
    first, second = Network(), Network()
    batcher = Batcher([first, second], max_batch=2)
    assert values(submit_to(batcher, 1, 7.0)) == [14.0]
    assert (first.batches, second.batches) == ([], [[7.0]])
    for network in (first, second):
        network.go.clear()
        network.entered.clear()
    jobs = [submit_to(batcher, 0, 1.0), submit_to(batcher, 1, 2.0)]
    assert first.entered.wait(WAIT_S) and second.entered.wait(WAIT_S)  # both at once
    assert batcher.running == 2
    jobs += [submit(batcher, float(value)) for value in range(3, 9)]
    first.go.set()
    jobs[-1].result(WAIT_S)  # the free one does all that is left
    assert first.batches == [[1.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]
    second.go.set()
    assert [values(job) for job in jobs] == [[2.0 * value] for value in range(1, 9)]
    batcher.close()


def submit_to(batcher: Batcher, worker: int, value: float) -> "Future[Done]":
    return batcher.submit(KEY, images(value), 1, worker=worker)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.integers(5, 9), st.floats(0, 2))
def test_everybody_gets_their_own_whatever_is_batched(sizes: List[int], max_batch: int, max_wait_ms: float) -> None:
    network = Network()
    batcher = Batcher([network], max_batch, max_wait_ms)
    hold(batcher, network)
    numbers = iter(range(20, 1000))
    sent = [[float(next(numbers)) for _ in range(size)] for size in sizes]
    jobs = [submit(batcher, *job) for job in sent]
    network.go.set()
    assert [values(job) for job in jobs] == [[2 * value for value in job] for job in sent]
    assert max(map(len, network.batches)) <= max_batch
    assert sorted(sum(network.batches, [])) == [0.0, *sum(sent, [])]
    batcher.close()


@pytest.mark.parametrize("wrong", [{"max_batch": 0}, {"max_wait_ms": -1}, {"max_wait_ms": float("nan")}])
def test_senseless_limits_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError):
        Batcher([Network()], **wrong)


@pytest.mark.parametrize("jobs", [1, 3])
def test_what_fails_after_the_network_has_run_leaves_nobody_waiting(jobs: int) -> None:
    faults = [MemoryError("no memory to count")]

    def on_batch(images: int) -> None:
        if faults:
            raise faults.pop()

    network = Network()
    batcher = Batcher([network], max_batch=4, on_batch=on_batch)
    network.go.clear()
    waiting = [submit(batcher, float(number)) for number in range(jobs)]
    network.go.set()
    outcomes = [one.exception(WAIT_S) for one in waiting]
    assert any(isinstance(outcome, MemoryError) for outcome in outcomes)
    assert values(submit(batcher, 5.0)) == [10.0]
    assert batcher.running == 0
    batcher.close()
