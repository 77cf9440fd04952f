"""Frames that wait for the head: so many, and no more."""

from __future__ import annotations

import collections
import threading
from typing import Deque, Optional

from ppsplit.edge.frames import Frame


class FrameQueue:
    """Between the thread that reads a source and the one that runs the head.

    Args:
        size: at most so many wait.
        drop_oldest: whether a new frame pushes out the oldest one; else its bringer waits.

    Attributes:
        dropped: how many were pushed out so far.
    """

    def __init__(self, size: int, drop_oldest: bool) -> None:
        self._size, self._drop_oldest = size, drop_oldest
        self._frames: Deque[Frame] = collections.deque()
        self._changed = threading.Condition()
        self._ended, self._closed = False, False
        self._error: Optional[BaseException] = None
        self.dropped = 0

    def put(self, frame: Frame) -> bool:
        """Add a frame; False where nobody wants any more."""
        with self._changed:
            if self._drop_oldest and len(self._frames) >= self._size:
                self._frames.popleft()
                self.dropped += 1
            self._changed.wait_for(lambda: self._closed or len(self._frames) < self._size)
            if not self._closed:
                self._frames.append(frame)
            self._changed.notify_all()
            return not self._closed

    def end(self, error: Optional[BaseException] = None) -> None:
        """No more will come; `error` is raised in the one who takes the last."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def take(self) -> Optional[Frame]:
        """The oldest frame, as soon as there is one; None after the last. Raises what `end` was given."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._ended or bool(self._frames))
            if self._closed:
                return None
            if self._frames:
                frame = self._frames.popleft()
                self._changed.notify_all()
                return frame
            if self._error is not None:
                raise self._error
            return None

    def close(self) -> None:
        """Nobody takes any more."""
        with self._changed:
            self._closed = True
            self._frames.clear()
            self._changed.notify_all()
