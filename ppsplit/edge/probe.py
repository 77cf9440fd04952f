"""Whether a server that failed is back: a small request now and then, behind the frames' backs."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from typing import Optional, Tuple

from ppsplit.edge.breaker import Breaker
from ppsplit.edge.exchange import UNREADABLE, Server
from ppsplit.errors import LinkError

# The longest pause, a probe that hangs, and the next pause together are less than the 5 s in which we want to be back.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 1.5
PROBE_TIMEOUT_S = 1.5

log = logging.getLogger(__name__)


class Prober:
    """Probes one server while its breaker is open, in a thread of its own that begins with the first failure.

    Args:
        server: whom to probe.
        breaker: told of every probe.
        fingerprint: of the bundle that it has to serve; None for any.
        connect_s: for the connection.
    """

    def __init__(self, server: Server, breaker: Breaker, fingerprint: Optional[str], connect_s: float) -> None:
        self._server, self._breaker, self._fingerprint = server, breaker, fingerprint
        self._connect_s = connect_s
        self._woken, self._closed = threading.Event(), threading.Event()
        self._thread: Optional[threading.Thread] = None
        self._lock = threading.Lock()

    def wake(self) -> None:
        """Begin to probe, if the breaker is open."""
        if not self._breaker.wants_probe or self._closed.is_set():
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="probe", daemon=True)
                self._thread.start()
        self._woken.set()

    def probe(self, timeout_s: float = PROBE_TIMEOUT_S) -> Tuple[Optional[str], float]:
        """One probe: what is wrong, None for nothing; and how long the round trip took, ms."""
        start = time.monotonic()
        try:
            reply = self._server.get("/v1/bundles", start + timeout_s, min(self._connect_s, timeout_s))
        except LinkError as error:
            return error.reason, 0.0
        except Exception:  # whatever it is, without probes the edge would never be back on this server
            log.exception("probing %s failed", self._server.url)
            return UNREADABLE, 0.0
        return self._judge(reply.body), reply.round_trip_ms

    def close(self) -> None:
        """End the thread, soon."""
        self._closed.set()
        self._woken.set()

    def _judge(self, body: bytes) -> Optional[str]:
        try:
            ready = {str(bundle["fingerprint"]): bool(bundle["ready"]) for bundle in json.loads(body)}
        except (ValueError, KeyError, TypeError, RecursionError):
            return UNREADABLE
        if self._fingerprint is None:
            return None if any(ready.values()) else "not_ready"
        if self._fingerprint not in ready:
            return "wrong_bundle"
        return None if ready[self._fingerprint] else "not_ready"

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._closed.is_set():
            if not self._breaker.wants_probe:
                self._woken.clear()
                if not self._breaker.wants_probe:  # it may have opened in between
                    self._woken.wait()
                pause_s = FIRST_PAUSE_S
                continue
            self._closed.wait(random.uniform(pause_s / 2, pause_s))
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
            fault, _ = self.probe()
            log.debug("probe of %s: %s", self._server.url, fault or "well")
            self._breaker.probed(fault)
