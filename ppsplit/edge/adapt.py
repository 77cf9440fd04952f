"""Which operating point keeps a target latency: numbers in, a decision out. Knows no socket, no clock, no network.

What a request would take is a round trip, the server's time, the edge's, and its bytes at the rate the link has shown.
The rate is the worse of a fast and a slow moving average, so that a drop counts at once and a gain only when it lasts.
Going down takes two observations, or one that came too late; going up takes several in a row with room to spare, one
step at a time, and more of them each time that it turned out wrong.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Optional, Sequence

from ppsplit.errors import ConfigError

FAST, SLOW = 0.5, 0.15  # share of the newest observation
DOWN_AFTER = 2
UP_AFTER, UP_AFTER_AT_MOST = 5, 80
UP_ROOM = 0.75  # of the target, that a better point may take at most
LEAST_SHARE = 0.05  # of a request's time on the network, that its bytes took at least: round trips vary

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decision:
    """To use this point from now on.

    Attributes:
        index: of the point.
        reason: for people.
    """

    index: int
    reason: str


class AdaptivePolicy:
    """Chooses among points, the best (and mostly largest) first. Safe for several threads.

    Args:
        names: of the points, for the reasons.
        expected_bytes: of a message by each, before one was sent.
        target_ms: from a frame's head to its answer.

    Attributes:
        current: the point to use.
        decision: the last one that changed it, None before the first.

    Raises:
        ConfigError: no points, or a target that is none.
    """

    def __init__(self, names: Sequence[str], expected_bytes: Sequence[int], target_ms: float) -> None:
        if not names or len(names) != len(expected_bytes):
            raise ConfigError("a policy needs at least one point, and the expected bytes of each")
        if not 0 < target_ms < 1e9:
            raise ConfigError(f"the target latency is {target_ms} ms; expected above 0")
        self._names, self._target_ms = list(names), target_ms
        self._bytes = [float(count) for count in expected_bytes]
        self._edge_ms = [0.0] * len(names)
        self._round_trip_ms, self._server_ms = 0.0, 0.0
        self._fast: Optional[float] = None  # ms a byte
        self._slow = 0.0
        self._over, self._room, self._up_after, self._since_up = 0, 0, UP_AFTER, UP_AFTER_AT_MOST
        self._lock = threading.Lock()
        self.current = 0
        self.decision: Optional[Decision] = None

    def observe_edge(self, index: int, edge_ms: float) -> None:
        """Head and codec of a point took so long."""
        with self._lock:
            known = self._edge_ms[index]
            self._edge_ms[index] = edge_ms if not known else known + FAST * (edge_ms - known)

    def observe_round_trip(self, round_trip_ms: float) -> None:
        """A request with next to nothing in it took so long."""
        with self._lock:
            self._round_trip_ms = round_trip_ms

    def observe(
        self, index: int, payload_bytes: int, network_ms: float, server_ms: float, in_time: bool
    ) -> Optional[Decision]:
        """A frame's request by point `index` took so long; where it was not `in_time`, at least so long.

        Returns:
            the decision, if it changes the point.
        """
        with self._lock:
            self._bytes[index] += FAST * (payload_bytes - self._bytes[index])
            transfer_ms = max(network_ms - self._round_trip_ms, LEAST_SHARE * network_ms)
            self._rate(transfer_ms / max(payload_bytes, 1), in_time)
            if in_time:
                self._server_ms += SLOW * (server_ms - self._server_ms)
            self._since_up += 1
            if index != self.current:
                return None  # of before the last change
            return self._decide(in_time)

    def predicted_ms(self, index: int) -> float:
        """What a frame would take by point `index`."""
        per_byte = max(self._fast or 0.0, self._slow)
        return self._edge_ms[index] + self._round_trip_ms + self._server_ms + self._bytes[index] * per_byte

    def _rate(self, per_byte_ms: float, in_time: bool) -> None:
        if self._fast is None:
            self._fast = self._slow = per_byte_ms
        elif in_time or per_byte_ms > self._fast:  # a request that was given up shows only how bad it is at least
            self._fast += (FAST if in_time else 1.0) * (per_byte_ms - self._fast)
            self._slow += SLOW * (per_byte_ms - self._slow)

    def _decide(self, in_time: bool) -> Optional[Decision]:
        expected_ms = self.predicted_ms(self.current)
        self._over = self._over + 1 if expected_ms > self._target_ms or not in_time else 0
        if self._over and (self._over >= DOWN_AFTER or not in_time):
            return self._down(expected_ms, in_time)
        better = [i for i in range(self.current) if self.predicted_ms(i) <= UP_ROOM * self._target_ms]
        self._room = self._room + 1 if better else 0
        if self._room < self._up_after:
            return None
        self._since_up = 0
        return self._go(better[-1], f"{self.predicted_ms(better[-1]):.0f} ms expected, room in {self._target_ms:g} ms")

    def _down(self, expected_ms: float, in_time: bool) -> Optional[Decision]:
        """To the best point that keeps the target, or else to the fastest."""
        # a request that was given up shows of the rate only that it is lower, so nothing larger is to be trusted
        first = 0 if in_time else self.current + 1
        times = {i: self.predicted_ms(i) for i in range(first, len(self._names)) if i != self.current}
        keeping = [index for index, took_ms in times.items() if took_ms <= self._target_ms]
        fastest = min(times, key=lambda index: times[index], default=self.current)
        chosen = keeping[0] if keeping else fastest
        if chosen == self.current or (not keeping and times[chosen] >= expected_ms):
            return None  # nothing is better
        if self._since_up <= 2 * self._up_after:
            self._up_after = min(UP_AFTER_AT_MOST, self._up_after * 2)
        else:
            self._up_after = UP_AFTER
        late = "" if in_time else ", and the answer did not come in time"
        return self._go(chosen, f"{expected_ms:.0f} ms expected at {self._names[self.current]}{late}")

    def _go(self, index: int, why: str) -> Decision:
        reason = f"{self._names[self.current]} -> {self._names[index]}: {why} (target {self._target_ms:g} ms)"
        log.info("operating point %s", reason)
        self._over = self._room = 0
        self.current, self.decision = index, Decision(index, reason)
        return self.decision
