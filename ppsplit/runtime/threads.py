"""How many threads a runtime can be given, on which cores, and which thread may run it."""

from __future__ import annotations

import threading
from typing import Optional

from ppsplit.errors import ConfigError, InferenceRuntimeError

# Paddle Lite's LITE_POWER_...: the big cores, the little ones, all, the system's choice, and two that change.
POWER_MODES = ("high", "low", "full", "no-bind", "rand-high", "rand-low")


def check_threads(threads: int) -> None:
    """Raise ConfigError for a number of threads that no runtime can use."""
    if threads < 1:
        raise ConfigError(f"threads is {threads}; expected at least 1")


def check_power_mode(power_mode: Optional[str]) -> None:
    """Raise ConfigError for a power mode that Paddle Lite does not have."""
    if power_mode is not None and power_mode not in POWER_MODES:
        raise ConfigError(f"power mode {power_mode!r} is unknown; choose from {', '.join(POWER_MODES)}")


class OneThread:
    """The one thread that may run a predictor: the first that does.

    An error, not a lock: a lock would make a second thread wait and hide the mistake, while what the runtimes keep
    for each thread (oneDNN its primitives, Paddle Lite the cores it is bound to) makes every hand-over slow or wrong.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._owner: Optional[threading.Thread] = None
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raise InferenceRuntimeError in any thread but the first that came here."""
        here = threading.current_thread()
        with self._lock:
            self._owner = self._owner or here
        if self._owner is not here:
            raise InferenceRuntimeError(
                f"thread {here.name!r} wants to run {self._what}, which thread {self._owner.name!r} runs; "
                "load the program once for each thread, or run it in one"
            )
