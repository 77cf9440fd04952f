"""How late this machine wakes whoever sleeps: what a test may forgive a deadline, and no more."""

from __future__ import annotations

import subprocess
import sys
from types import TracebackType
from typing import Optional, Type

# A process of its own, so that nothing that the tested one does to its threads counts.
WATCH = """
import select, sys, time
worst, last = 0.0, time.monotonic()
print("begun", flush=True)
while not select.select([sys.stdin], [], [], 0.005)[0]:
    now = time.monotonic()
    worst, last = max(worst, now - last - 0.005), now
print(worst * 1000)
"""
LEAST_MS = 40.0  # for handing an answer through some threads
TIMES = 4  # an answer is handed on by some threads, each of which may be woken late


class Lateness:
    """Watches while the `with` lasts.

    Attributes:
        tolerance_ms: what an answer may be late; known at the end.
    """

    tolerance_ms = LEAST_MS

    def __enter__(self) -> Lateness:
        self._watch = subprocess.Popen(
            [sys.executable, "-c", WATCH], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._watch.stdout is not None
        self._watch.stdout.readline()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        told, _ = self._watch.communicate("end\n", timeout=30)
        self.tolerance_ms = LEAST_MS + TIMES * float(told)
