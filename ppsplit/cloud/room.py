"""How much the server takes on at once. What is more is refused at the door, while that is still cheap."""

from __future__ import annotations

import contextlib
import threading
from typing import Iterator

from ppsplit.cloud.refusal import RefusedError
from ppsplit.errors import ConfigError

DEFAULT_MAX_REQUESTS = 32


class Room:
    """A bound on requests that are decoded, wait, run and are answered.

    It bounds memory, and how long any of them waits. Several engines of a process share one.

    Args:
        max_requests: how many at once.

    Raises:
        ConfigError: max_requests below 1.
    """

    def __init__(self, max_requests: int = DEFAULT_MAX_REQUESTS) -> None:
        if max_requests < 1:
            raise ConfigError(f"max_requests is {max_requests}; expected at least 1")
        self.max_requests = max_requests
        self._taken = 0
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        """Requests that are inside now."""
        return self._taken

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """One of the places, for as long as the block runs. Raises RefusedError when all are taken."""
        with self._lock:
            if self._taken >= self.max_requests:
                raise RefusedError(
                    503, "queue_full", f"{self._taken} requests are being served, more are not taken on; ask again"
                )
            self._taken += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken -= 1
