"""HTTP to the cloud half: one kept-alive connection, timeouts, bounded retries."""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, Optional

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError

from ppsplit.edge.deadline import pool_manager
from ppsplit.errors import ConfigError, LinkError, ServerRejectedError

RETRIED_STATUS = (502, 503, 504)
MAX_BACKOFF_S = 5.0
MAX_RETRY_AFTER_S = 30.0
MAX_ANSWER_BYTES = 256 * 1024 * 1024
CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True)
class Reply:
    """An answer with status 200.

    Attributes:
        body: as received.
        content_type: without parameters.
        sent_bytes: length of the request's body.
        round_trip_ms: from handing over the body to having the answer, retries included.
    """

    body: bytes
    content_type: str
    sent_bytes: int
    round_trip_ms: float


class Link:
    """A connection to one server. Opens nothing before the first request.

    Args:
        server_url: such as http://127.0.0.1:8866.
        timeout_s: for the whole answer, from when the request is sent.
        connect_timeout_s: for the connection to come about.
        retries: how often a request is sent again when no connection came about, it broke, or the server said
            502, 503 or 504. Inference changes nothing, so sending it twice does no harm.
        backoff_s: pause before the first retry, doubled each time, with jitter. `Retry-After` comes before it.

    Raises:
        ConfigError: `server_url` is not an HTTP URL.
    """

    def __init__(
        self,
        server_url: str,
        timeout_s: float = 30.0,
        connect_timeout_s: float = 5.0,
        retries: int = 3,
        backoff_s: float = 0.25,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        try:
            parsed = urllib3.util.parse_url(server_url)
        except LocationParseError as error:
            raise ConfigError(f"the server's address {server_url!r} is not a URL ({error})") from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ConfigError(f"the server's address is {server_url!r}; expected one such as http://127.0.0.1:8866")
        self.server_url = server_url.rstrip("/")
        self.timeout_s, self.connect_timeout_s = timeout_s, connect_timeout_s
        self.retries, self.backoff_s, self._sleep = retries, backoff_s, sleep
        self._pool = pool_manager(1)

    def post(self, path: str, body: bytes, content_type: str, query: Optional[Dict[str, Any]] = None) -> Reply:
        """Send `body` and return the answer.

        Raises:
            LinkError: not reached, no answer in time, or the connection broke, after all retries.
            ServerRejectedError: the server answered with anything but 200.
        """
        start = time.perf_counter()
        for attempt in range(self.retries + 1):
            last = attempt == self.retries
            try:
                response = self._exchange(path, body, content_type, query)
                content = _read(response, self.server_url)
            except (HTTPError, OSError) as error:
                if last or not _is_safe_to_retry(error):
                    raise LinkError(self._failure(error, attempt + 1)) from error
                self._sleep(self._pause(attempt))
                continue
            if response.status == 200:
                elapsed_ms = (time.perf_counter() - start) * 1000
                kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
                return Reply(content, kind, len(body), elapsed_ms)
            wait_s = _retry_after_s(response)
            if last or response.status not in RETRIED_STATUS or wait_s > MAX_RETRY_AFTER_S:
                raise self._rejection(response.status, content, wait_s)
            self._sleep(wait_s or self._pause(attempt))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def close(self) -> None:
        """Close the connection."""
        self._pool.clear()

    def _exchange(
        self, path: str, body: bytes, content_type: str, query: Optional[Dict[str, Any]]
    ) -> urllib3.BaseHTTPResponse:
        url = self.server_url + path
        if query:
            url += "?" + "&".join(f"{key}={json.dumps(value)}" for key, value in query.items())
        return self._pool.request(
            "POST",
            url,
            body=body,
            headers={"Content-Type": content_type},
            timeout=urllib3.Timeout(connect=self.connect_timeout_s, read=self.timeout_s),
            redirect=False,
            preload_content=False,
        )

    def _pause(self, attempt: int) -> float:
        longest = min(MAX_BACKOFF_S, self.backoff_s * 2**attempt)
        return random.uniform(longest / 2, longest)  # jitter, so that many boards do not come back all at once

    def _failure(self, error: Exception, attempts: int) -> str:
        tries = f"{attempts} attempts" if attempts > 1 else "1 attempt"
        if isinstance(error, urllib3.exceptions.ReadTimeoutError):
            return (
                f"the server at {self.server_url} did not answer within {self.timeout_s:g} s; "
                "is it overloaded? --timeout gives it longer"
            )
        return (
            f"cannot reach the server at {self.server_url} ({_reason(error)}, {tries}); "
            "is it running there? Start it with `ppsplit serve`"
        )

    def _rejection(self, status: int, content: bytes, wait_s: float) -> ServerRejectedError:
        code, message = "", content[:200].decode("utf-8", "replace")
        try:
            said = json.loads(content)["error"]
            code, message = str(said["code"]), str(said["message"])
        except (ValueError, KeyError, TypeError, RecursionError):
            pass  # not our server, or something between: its own words have to do
        if wait_s > MAX_RETRY_AFTER_S:
            message += f" (it asks to wait {wait_s:g} s, longer than the {MAX_RETRY_AFTER_S:g} s allowed)"
        reason = _one_line(f"{status} {code}")
        text = f"the server at {self.server_url} said no ({reason}): {_one_line(message)}"
        return ServerRejectedError(text, status, code)


def _read(response: urllib3.BaseHTTPResponse, server_url: str) -> bytes:
    """The whole body, within bounds. urllib3 raises when it is shorter than announced."""
    chunks, size = [], 0
    for chunk in response.stream(CHUNK_BYTES, decode_content=False):
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            response.close()
            raise LinkError(f"the server at {server_url} answered with more than {MAX_ANSWER_BYTES} bytes")
    response.release_conn()
    return b"".join(chunks)


def _is_safe_to_retry(error: Exception) -> bool:
    """Whether trying again may help soon: not after the server has already used up the whole read timeout."""
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return False
    # a connection that did not come about (these are TimeoutErrors to urllib3), or broke; not bad TLS or bad encoding
    kinds = (urllib3.exceptions.TimeoutError, urllib3.exceptions.NewConnectionError, urllib3.exceptions.ProtocolError)
    return isinstance(error, (*kinds, OSError))


def _retry_after_s(response: urllib3.BaseHTTPResponse) -> float:
    """Seconds the server asks to wait; 0 where it asks nothing, or gives a clock time (clocks jump)."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() and len(text) < 10 else 0.0


def _reason(error: BaseException) -> str:
    """The system's own words at the bottom of urllib3's exception, on one line."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    words = str(error.strerror) if isinstance(error, OSError) and error.strerror else str(error)
    return _one_line(words) or type(error).__name__


def _one_line(text: str) -> str:
    """On one line, and what a terminal would obey rather than show as escapes: the text is the server's."""
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in words)
