"""Frames that wait: so many, the newest of them, and never one more."""

from __future__ import annotations

import threading
import time
from typing import List

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppsplit.edge.frame_queue import FrameQueue
from ppsplit.edge.frames import Frame
from ppsplit.errors import DataError


def frame(number: int) -> Frame:
    return Frame(str(number), np.zeros((1, 1, 3), np.uint8))


def rest_of(queue: FrameQueue) -> List[str]:
    names = []
    while True:
        taken = queue.take()
        if taken is None:
            return names
        names.append(taken.name)


def test_nothing_comes_of_nothing() -> None:
    queue = FrameQueue(2, drop_oldest=True)
    queue.end()
    assert rest_of(queue) == []
    assert queue.dropped == 0


@given(size=st.integers(1, 5), takes=st.lists(st.booleans(), max_size=40))
def test_what_is_dropped_is_the_oldest_and_is_counted(size: int, takes: List[bool]) -> None:
    """Against a plain list: a frame comes at every step, and at some of them one is taken."""
    queue, waiting, dropped, taken = FrameQueue(size, drop_oldest=True), [], 0, []  # type: ignore[var-annotated]
    for number, take in enumerate(takes):
        assert queue.put(frame(number))
        waiting.append(str(number))
        if len(waiting) > size:
            waiting.pop(0)
            dropped += 1
        if take:
            one = queue.take()
            assert one is not None
            taken.append(one.name)
            assert taken[-1] == waiting.pop(0)
    queue.end()
    assert rest_of(queue) == waiting
    assert queue.dropped == dropped


def test_a_full_queue_makes_a_file_wait_and_drops_nothing() -> None:
    queue, put = FrameQueue(2, drop_oldest=False), []

    def bring() -> None:
        for number in range(5):
            queue.put(frame(number))
            put.append(number)
        queue.end()

    thread = threading.Thread(target=bring, daemon=True)
    thread.start()
    time.sleep(0.1)
    assert put == [0, 1]
    assert rest_of(queue) == ["0", "1", "2", "3", "4"]
    thread.join(5)
    assert queue.dropped == 0


def test_an_error_comes_after_what_was_there_before_it() -> None:
    queue = FrameQueue(2, drop_oldest=True)
    queue.put(frame(0))
    queue.end(DataError("gone"))
    first = queue.take()
    assert first is not None and first.name == "0"
    with pytest.raises(DataError, match="gone"):
        queue.take()


@pytest.mark.parametrize("drop_oldest", [True, False])
def test_closing_wakes_whoever_waits(drop_oldest: bool) -> None:
    queue, told = FrameQueue(1, drop_oldest), []
    taker = threading.Thread(target=lambda: told.append(queue.take()), daemon=True)
    taker.start()
    time.sleep(0.05)
    queue.close()
    taker.join(5)
    assert told == [None]
    assert queue.put(frame(1)) is False
    blocked = FrameQueue(1, drop_oldest=False)
    blocked.put(frame(0))
    bringer = threading.Thread(target=lambda: told.append(blocked.put(frame(1))), daemon=True)
    bringer.start()
    time.sleep(0.05)
    blocked.close()
    bringer.join(5)
    assert told == [None, False]
