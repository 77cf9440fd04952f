"""The link to the cloud half: servers in order of preference, one deadline, retries of what may be sent again.

Inference changes nothing, so every request may; whether it helps is what `wire.http.may_retry` says of refusals.
"""

from __future__ import annotations

import random
import time
from typing import Any, Callable, Dict, Optional, Sequence, Tuple, Union
from urllib.parse import urlencode

from ppsplit.edge.breaker import Breaker
from ppsplit.edge.exchange import BROKEN, DAMAGED, TIMED_OUT, UNREACHABLE, Reply, Server
from ppsplit.edge.probe import Prober
from ppsplit.errors import CircuitOpenError, ConfigError, LinkError, ServerRejectedError
from ppsplit.wire.http import may_retry

MAX_BACKOFF_S = 5.0
RETRIED_REASONS = (UNREACHABLE, BROKEN, TIMED_OUT, DAMAGED)
# As every other frame would be refused, too: no token, no such cut, no such bundle.
REFUSED_FOR_ALL = (401, 403, 404, 409)
LEAST_TRY_S = 0.005  # with less left, nothing is sent


class Link:
    """Connections to some servers. Opens nothing before the first request; any number of threads.

    Args:
        servers: address, or addresses in order of preference, such as http://127.0.0.1:8866.
        timeout_s: for an answer, retries included, where a request brings no earlier deadline of its own.
        connect_timeout_s: for a connection to come about.
        retries: how often each server is asked again after a fault, or a refusal that may pass.
        backoff_s: pause before the first retry, doubled each time, with jitter. `Retry-After` comes before it.
        token: to show with every request.
        fail_fast: whether a request fails at once while no server is worth trying; otherwise it tries nonetheless.
        connections: kept to each server, one for each thread that sends.
        fingerprint: of the bundle; servers are probed for it after they failed. None probes for being ready alone.
        sleep: waits so many seconds.

    Raises:
        ConfigError: no server, or an address that is not an HTTP URL, or a token that no header can hold.
    """

    def __init__(
        self,
        servers: Union[str, Sequence[str]],
        timeout_s: float = 30.0,
        connect_timeout_s: float = 5.0,
        retries: int = 3,
        backoff_s: float = 0.25,
        token: Optional[str] = None,
        fail_fast: bool = False,
        connections: int = 1,
        fingerprint: Optional[str] = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        urls = [servers] if isinstance(servers, str) else list(servers)
        if not urls:
            raise ConfigError("no server is given; name at least one with --server")
        self.servers = [Server(url, connections, token) for url in urls]
        self.breakers = [Breaker(server.url) for server in self.servers]
        self._probers = [Prober(s, b, fingerprint, connect_timeout_s) for s, b in zip(self.servers, self.breakers)]
        self.timeout_s, self.connect_timeout_s = timeout_s, connect_timeout_s
        self.retries, self.backoff_s, self._sleep = retries, backoff_s, sleep
        self._fail_fast = fail_fast

    def post(
        self,
        path: str,
        body: bytes,
        content_type: str,
        query: Optional[Dict[str, Any]] = None,
        deadline: Optional[float] = None,
    ) -> Reply:
        """Send `body` and return the answer.

        Args:
            deadline: of `time.monotonic`; None for `timeout_s` from now.

        Raises:
            LinkError: no server was reached in time, or gave an answer to this request.
            CircuitOpenError: none was asked; only where failing fast is wanted.
            ServerRejectedError: the last server asked answered with anything but 200.
        """
        start = time.monotonic()
        end = start + self.timeout_s if deadline is None else min(deadline, start + self.timeout_s)
        target = path + ("?" + urlencode(query) if query else "")
        error: Optional[LinkError] = None
        for rounds in range(1, self.retries + 2):
            reply, failure = self._round(target, body, content_type, end)
            if reply is not None:
                elapsed_ms = (time.monotonic() - start) * 1000
                return Reply(reply.body, reply.content_type, len(body), elapsed_ms, reply.server_url)
            error = failure or error
            if failure is None or not _may_pass(failure) or rounds > self.retries or not self._pause(rounds, end):
                break
        if error is None:
            reason = self.breakers[0].reason or BROKEN
            raise CircuitOpenError(f"no server is worth asking now ({reason}); they are probed meanwhile", reason)
        raise _told(error, rounds)

    def _round(
        self, target: str, body: bytes, content_type: str, end: float
    ) -> Tuple[Optional[Reply], Optional[LinkError]]:
        """Each server once, by preference, until one answers.

        Returns:
            the answer, or None and the last fault, or None twice where no server was worth asking.
        """
        failure: Optional[LinkError] = None
        promising = [index for index, breaker in enumerate(self.breakers) if breaker.promising]
        forced = not promising and not self._fail_fast
        chosen = list(range(len(self.servers))) if forced else promising
        for prober in self._probers:
            prober.wake()
        for index in chosen:
            if not forced and not self.breakers[index].admits():
                continue
            # while there is another server, it gets its chance, too
            until = end if index == chosen[-1] else end - (end - time.monotonic()) / 2
            try:
                return self._try(index, target, body, content_type, until), None
            except LinkError as error:
                failure = error
                if not (_may_pass(error) or _is_of_the_server(error)):
                    break
        return None, failure

    def round_trip_ms(self, timeout_s: float) -> Optional[float]:
        """Of a small request to the first server that answers one, ms; None where none does."""
        for prober, breaker in zip(self._probers, self.breakers):
            if not breaker.wants_probe:
                fault, elapsed_ms = prober.probe(timeout_s)
                if fault is None:
                    return elapsed_ms
        return None

    def close(self) -> None:
        """Close the connections and end the probing."""
        for prober in self._probers:
            prober.close()
        for server in self.servers:
            server.close()

    def _try(self, index: int, target: str, body: bytes, content_type: str, until: float) -> Reply:
        """One exchange, and what it says about the server. Raises LinkError."""
        server, breaker = self.servers[index], self.breakers[index]
        if until - time.monotonic() < LEAST_TRY_S:
            breaker.undecided()
            raise LinkError(f"there was no time left to ask the server at {server.url}", TIMED_OUT)
        try:
            reply = server.post(target, body, content_type, until, self.connect_timeout_s)
        except ServerRejectedError as error:
            if _is_of_the_server(error):
                breaker.failed(error.reason, for_all=True)
            elif error.wait_s:
                breaker.hold(error.wait_s, error.reason)
            elif may_retry(error.status, error.code):
                breaker.failed(error.reason)
            else:
                breaker.undecided()  # this frame's own fault
            self._probers[index].wake()
            raise
        except LinkError as error:
            breaker.failed(error.reason, slowly=error.reason == TIMED_OUT)
            self._probers[index].wake()
            raise
        except BaseException:
            breaker.undecided()
            raise
        breaker.succeeded()
        return reply

    def _pause(self, rounds: int, end: float) -> bool:
        """Wait before another round; False where the time does not allow it."""
        longest = min(MAX_BACKOFF_S, self.backoff_s * 2 ** (rounds - 1))
        pause_s = random.uniform(longest / 2, longest)  # jitter, so that many boards do not come back all at once
        held_s = min(breaker.held_s() for breaker in self.breakers)
        pause_s = held_s or pause_s
        if time.monotonic() + pause_s + LEAST_TRY_S >= end:
            return False
        self._sleep(pause_s)
        return True


def _may_pass(error: LinkError) -> bool:
    """Whether the same request may well be answered when it is sent again."""
    if isinstance(error, ServerRejectedError):
        return may_retry(error.status, error.code)
    return error.reason in RETRIED_REASONS


def _is_of_the_server(error: LinkError) -> bool:
    """Whether this server refuses every frame, and another one may not."""
    return isinstance(error, ServerRejectedError) and error.status in REFUSED_FOR_ALL


def _told(error: LinkError, attempts: int) -> LinkError:
    """The same, with what the user may want to know of the attempts."""
    if isinstance(error, ServerRejectedError) or attempts < 2:
        return error
    told = LinkError(f"{error} ({attempts} attempts)", error.reason)
    told.__cause__ = error
    return told
