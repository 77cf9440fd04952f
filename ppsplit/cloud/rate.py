"""How often one client may ask."""

from __future__ import annotations

import ipaddress
import math
import time

import limits
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from ppsplit.cloud.refusal import RefusedError
from ppsplit.errors import ConfigError

IPV6_SITE_BITS = 64  # what one client owns, so addresses within it are one client


class Rate:
    """A limit for each client, in a moving window.

    Args:
        limit: such as "20/second" or "600/minute", as the package `limits` reads it.

    Raises:
        ConfigError: it cannot be read.
    """

    def __init__(self, limit: str) -> None:
        try:
            self._limit = limits.parse(limit)
        except ValueError as error:
            raise ConfigError(f"the rate {limit!r} is none; expected one such as 20/second or 600/minute") from error
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def check(self, client: str) -> None:
        """Count a request. Raises RefusedError when the client has had its share."""
        if self._limiter.hit(self._limit, client):
            return
        left_s = self._limiter.get_window_stats(self._limit, client).reset_time - time.time()
        raise RefusedError(
            429, "rate_limited", f"more than {self._limit} from this client; send fewer", math.ceil(left_s)
        )


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
