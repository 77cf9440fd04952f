"""One request to one server, and the answer that belongs to it: wire/FORMAT.md section 6, the client's side."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from typing import Dict, Optional

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError

from ppsplit.edge.deadline import Clock, connection_pool
from ppsplit.errors import ConfigError, LinkError, ServerRejectedError
from ppsplit.wire.http import (
    BEARER,
    DIGEST_HEADER,
    REQUEST_DIGEST_HEADER,
    REQUEST_ID_HEADER,
    RETRY_AFTER_HEADER,
    TIMEOUT_HEADER,
    content_digest,
    digest_matches,
    new_request_id,
    parse_retry_after_s,
    request_digest,
)

MAX_ANSWER_BYTES = 256 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
UNREACHABLE, BROKEN, TIMED_OUT, DAMAGED, UNREADABLE = "unreachable", "broken", "timed_out", "damaged", "unreadable"
INSECURE = "insecure"


@dataclass(frozen=True)
class Reply:
    """An answer with status 200, to this very request, undamaged.

    Attributes:
        body: as received.
        content_type: without parameters.
        sent_bytes: length of the request's body.
        round_trip_ms: from handing over the body to having the answer; by a `Link`, retries included.
        server_url: whose answer it is.
    """

    body: bytes
    content_type: str
    sent_bytes: int
    round_trip_ms: float
    server_url: str = ""


class Server:
    """One server by its address. Opens nothing before the first exchange; any number of threads.

    Args:
        url: such as http://127.0.0.1:8866.
        connections: how many are kept, one for each thread that sends.
        token: to show with every request.

    Raises:
        ConfigError: `url` is not an HTTP URL, or the token cannot stand in a header.
    """

    def __init__(self, url: str, connections: int = 1, token: Optional[str] = None) -> None:
        try:
            parsed = urllib3.util.parse_url(url)
        except LocationParseError as error:
            raise ConfigError(f"the server's address {url!r} is not a URL ({error})") from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ConfigError(f"the server's address is {url!r}; expected one such as http://127.0.0.1:8866")
        if token is not None and not (token.isascii() and token.isprintable() and token.strip() == token != ""):
            raise ConfigError("the token is empty or holds what no header can; expected printable ASCII on one line")
        self.url = url.rstrip("/")
        self._path, self._token, self._clock = (parsed.path or "").rstrip("/"), token, Clock()
        self._pool = connection_pool(parsed, connections, self._clock)

    def post(self, target: str, body: bytes, content_type: str, deadline: float, connect_s: float) -> Reply:
        """Send `body` and return the answer.

        Args:
            target: path and query.
            deadline: of `time.monotonic`, for everything.
            connect_s: for the connection alone.

        Raises:
            LinkError: not reached, no answer in time, or what came is not the answer to this request.
            ServerRejectedError: it answered with anything but 200.
        """
        headers = {"Content-Type": content_type, DIGEST_HEADER: content_digest(body)}
        return self._exchange("POST", target, body, headers, deadline, connect_s)

    def get(self, target: str, deadline: float, connect_s: float) -> Reply:
        """As `post`, without a body."""
        return self._exchange("GET", target, None, {}, deadline, connect_s)

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _exchange(
        self, method: str, target: str, body: Optional[bytes], extra: Dict[str, str], deadline: float, connect_s: float
    ) -> Reply:
        start = time.monotonic()
        remaining_s = deadline - start
        if remaining_s <= 0:
            raise LinkError(f"there was no time left to ask the server at {self.url}", TIMED_OUT)
        request_id = new_request_id()
        headers = {**extra, REQUEST_ID_HEADER: request_id, TIMEOUT_HEADER: str(max(1, int(remaining_s * 1000)))}
        if self._token is not None:
            headers["Authorization"] = f"{BEARER} {self._token}"
        self._clock.deadline = deadline
        timeout = urllib3.Timeout(connect=min(connect_s, remaining_s), read=remaining_s)
        try:
            response = self._pool.urlopen(
                method,
                self._path + target,
                body=body,
                headers=headers,
                timeout=timeout,
                retries=False,
                redirect=False,
                preload_content=False,
            )
            content = self._read(response, request_id)
        except (HTTPError, OSError, http.client.HTTPException, ValueError) as error:
            raise self._fault(error, remaining_s, time.monotonic() >= deadline) from error
        if response.status != 200:
            raise self._rejection(response, content)
        query = target.partition("?")[2]  # which no digest of the request covers
        if query and response.headers.get(REQUEST_DIGEST_HEADER) != request_digest(query.encode("ascii"), body or b""):
            raise LinkError(f"{self._strange(response)} an answer to another query or body", DAMAGED)
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
        return Reply(content, kind, len(body or b""), (time.monotonic() - start) * 1000, self.url)

    def _read(self, response: urllib3.BaseHTTPResponse, request_id: str) -> bytes:
        """The whole body, within bounds, if it is the answer to this request and undamaged."""
        told = response.headers.get(REQUEST_ID_HEADER)
        if told != request_id:
            response.close()  # with the connection, which may be an answer behind
            what = "without the request's id" if told is None else "to another request"
            raise LinkError(f"{self._strange(response)} an answer {what}; is it a ppsplit server?", DAMAGED)
        chunks, size = [], 0
        for chunk in response.stream(CHUNK_BYTES, decode_content=False):
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                response.close()
                raise LinkError(
                    f"the server at {self.url} answered with more than {MAX_ANSWER_BYTES} bytes", UNREADABLE
                )
        response.release_conn()
        content = b"".join(chunks)
        if content and not digest_matches(content, response.headers.get(DIGEST_HEADER)):
            raise LinkError(f"{self._strange(response)} an answer that does not match its {DIGEST_HEADER}", DAMAGED)
        return content

    def _strange(self, response: urllib3.BaseHTTPResponse) -> str:
        return f"the server at {self.url} gave ({response.status})"

    def _fault(self, error: Exception, allowed_s: float, late: bool) -> LinkError:
        """What urllib3 or the system raised, as ours."""
        kinds = urllib3.exceptions
        if late or isinstance(error, kinds.ReadTimeoutError):
            return LinkError(
                f"the server at {self.url} did not answer within {allowed_s:.2g} s; "
                "is it overloaded? --timeout gives it longer",
                TIMED_OUT,
            )
        if isinstance(error, kinds.SSLError):
            return LinkError(f"no safe connection to the server at {self.url} ({_reason(error)})", INSECURE)
        fresh = isinstance(error, (kinds.NewConnectionError, kinds.ConnectTimeoutError, kinds.NameResolutionError))
        return LinkError(
            f"cannot reach the server at {self.url} ({_reason(error)}); "
            "is it running there? Start it with `ppsplit serve`",
            UNREACHABLE if fresh else BROKEN,
        )

    def _rejection(self, response: urllib3.BaseHTTPResponse, content: bytes) -> ServerRejectedError:
        code, message = "", content[:200].decode("utf-8", "replace")
        try:
            said = json.loads(content)["error"]
            code, message = str(said["code"]), str(said["message"])
        except (ValueError, KeyError, TypeError, RecursionError):
            pass  # its own words have to do
        reason = _one_line(f"{response.status} {code}")
        text = f"the server at {self.url} said no ({reason}): {_one_line(message)}"
        wait_s = parse_retry_after_s(response.headers.get(RETRY_AFTER_HEADER)) or 0
        text += " (--token-file)" if code == "unauthorized" else ""
        text += f" (it asks to wait {wait_s} s)" if wait_s else ""
        return ServerRejectedError(text, response.status, _one_line(code), float(wait_s))


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
