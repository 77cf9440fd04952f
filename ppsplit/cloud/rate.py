"""How often one client may ask."""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict, deque
from typing import Callable, Deque

import limits

from ppsplit.cloud.refusal import RefusedError
from ppsplit.errors import ConfigError

IPV6_SITE_BITS = 64  # what one client owns, so addresses within it are one client


class Rate:
    """A limit for each client, in a moving window. Its clock is monotonic: whoever sets the clock locks nobody out.

    Args:
        limit: such as "20/second" or "600/minute", as the package `limits` reads it.
        now: seconds of a clock that nobody sets.

    Raises:
        ConfigError: it cannot be read.
    """

    def __init__(self, limit: str, now: Callable[[], float] = time.monotonic) -> None:
        try:
            self._limit = limits.parse(limit)
            if self._limit.amount < 1:
                raise ValueError("nobody would be let in")
        except ValueError as error:
            raise ConfigError(f"the rate {limit!r} is none; expected one such as 20/second or 600/minute") from error
        self._window_s, self._now = float(self._limit.get_expiry()), now
        self._lock = threading.Lock()
        # when each client's last requests were let in; whoever asked least recently comes first
        self._let_in: OrderedDict[str, Deque[float]] = OrderedDict()

    def __len__(self) -> int:
        """How many clients are remembered: those of the last window."""
        return len(self._let_in)

    def check(self, client: str) -> None:
        """Count a request. Raises RefusedError when the client has had its share."""
        with self._lock:
            now = self._now()
            self._forget(now - self._window_s)
            times = self._let_in.setdefault(client, deque(maxlen=self._limit.amount))
            left_s = times[0] + self._window_s - now if len(times) == self._limit.amount else 0.0
            if left_s <= 0:
                times.append(now)
                self._let_in.move_to_end(client)
                return
        raise RefusedError(
            429, "rate_limited", f"more than {self._limit} from this client; send fewer", math.ceil(left_s)
        )

    def _forget(self, before: float) -> None:
        while self._let_in:
            client, times = next(iter(self._let_in.items()))
            if times[-1] > before:
                return
            del self._let_in[client]


def client_of(address: str) -> str:
    """The name under which an address is counted: itself; for IPv6 its /64."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, IPV6_SITE_BITS), strict=False))
    return str(parsed)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
