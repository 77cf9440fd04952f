"""A circuit breaker: whether a server is worth a frame's time at all."""

from __future__ import annotations

import logging
import threading
import time
from typing import Callable, Optional

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"
FAILURES = 6
SLOW_FAILURE = 2  # a failure that took all of a frame's time counts so often
LONGEST_HOLD_S = 30.0  # a page for an hour of some proxy must not keep the edge away for as long

log = logging.getLogger(__name__)


class Breaker:
    """Of one server, for any number of threads.

    Closed, it admits everything; after some failures in a row it opens and admits nothing. A probe that succeeds
    half-opens it: one exchange is admitted, on trial, and closes it or opens it again. A server that asks for time is
    left alone so long; that is no failure.

    Args:
        name: the server's, for the log.
        failures: in a row, that open it.
        now: seconds of a clock that nobody sets.

    Attributes:
        state: "closed", "open" or "half-open".
        reason: of the last failure, or why the server asked for time; "" where nothing is wrong.
    """

    def __init__(self, name: str = "", failures: int = FAILURES, now: Callable[[], float] = time.monotonic) -> None:
        self._name, self._failures, self._now = name, failures, now
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._on_trial = False
        self._not_before = 0.0
        self.state, self.reason = CLOSED, ""

    @property
    def promising(self) -> bool:
        """Whether an exchange would be admitted now."""
        return self.state != OPEN and not self._on_trial and self._now() >= self._not_before

    def admits(self) -> bool:
        """Whether an exchange may begin; each that may has to end in `succeeded`, `failed`, `hold` or `undecided`."""
        with self._lock:
            if not self.promising:
                return False
            self._on_trial = self.state == HALF_OPEN
            return True

    @property
    def wants_probe(self) -> bool:
        """Whether only a probe can change anything."""
        return self.state == OPEN and self._now() >= self._not_before

    def held_s(self) -> float:
        """Seconds for which the server wants to be left alone; 0 for none."""
        return max(0.0, self._not_before - self._now())

    def succeeded(self) -> None:
        """An exchange ended well. If it began before the server asked for time, the server gets that nonetheless."""
        with self._lock:
            self._in_a_row, self._on_trial = 0, False
            self._turn(CLOSED, self.reason if self.held_s() else "")

    def failed(self, reason: str, slowly: bool = False, for_all: bool = False) -> None:
        """An exchange failed.

        Args:
            slowly: it took all the time that it was given, which makes it worse.
            for_all: as every other exchange would, so that the breaker opens at once.
        """
        with self._lock:
            self._in_a_row += SLOW_FAILURE if slowly else 1
            self._on_trial = False
            opens = for_all or self.state != CLOSED or self._in_a_row >= self._failures
            self._turn(OPEN if opens else CLOSED, reason)

    def hold(self, wait_s: float, reason: str) -> None:
        """The server answered that it wants to be left alone for so long; at most `LONGEST_HOLD_S` are granted."""
        with self._lock:
            self._on_trial = False
            self._not_before = max(self._not_before, self._now() + min(wait_s, LONGEST_HOLD_S))
            self.reason = reason

    def undecided(self) -> None:
        """An exchange ended in a way that says nothing about the server."""
        with self._lock:
            self._on_trial = False

    def probed(self, fault: Optional[str]) -> None:
        """A probe came back: None for all is well, else what is wrong."""
        with self._lock:
            if self.state == OPEN:
                self._turn(HALF_OPEN if fault is None else OPEN, fault or self.reason)

    def _turn(self, state: str, reason: str) -> None:
        if state != self.state:
            log.info("%s: circuit %s%s", self._name, state, f" ({reason})" if reason else "")
        self.state, self.reason = state, reason
