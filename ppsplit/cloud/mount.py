"""The Flask app within an event loop, for servers that speak ASGI: whole bodies in, whole answers out."""

from __future__ import annotations

import asyncio
import io
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, AsyncIterator, Dict, List, Optional, Sequence, Tuple

from flask import Flask
from werkzeug.exceptions import RequestTimeout

from ppsplit.cloud.guard import BEGAN
from ppsplit.cloud.http_server import REQUEST_TIMEOUT_S, SPARE_THREADS
from ppsplit.cloud.service import Service


@dataclass(frozen=True)
class Head:
    """A request without its body.

    Attributes:
        method: in capitals.
        path: without the query, percent-decoded.
        query: as it was sent, without "?".
        headers: names in any case, values; in the order they came.
        client: the address of who asks, "" where it is not known.
    """

    method: str
    path: str
    query: str
    headers: Sequence[Tuple[str, str]]
    client: str = ""


@dataclass(frozen=True)
class Answer:
    """What goes back: status, headers and the whole body."""

    status: int
    headers: List[Tuple[str, str]]
    body: bytes


class Mount:
    """Answers requests with `app`, in threads of its own.

    A body is read in the event loop, where one that drips holds no thread; the app is asked when it has come.

    Args:
        app: made by `create_app` for `service`.
        service: gives the limits.
        request_timeout_s: for a body, from the request's head to its last byte.
    """

    def __init__(self, app: Flask, service: Service, request_timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        self._app, self._service, self._request_timeout_s = app, service, request_timeout_s
        threads = service.room.max_requests + SPARE_THREADS
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="request")

    async def answer(self, head: Head, chunks: AsyncIterator[bytes]) -> Answer:
        """The app's answer; a body that is too long is not read to its end, and refused by the app."""
        environment = _environment(head)
        limit = self._service.shelf.max_body_bytes
        length = int(environment.get("CONTENT_LENGTH", 0))
        environment["wsgi.input"] = io.BytesIO()
        if length <= limit:
            try:
                body = await asyncio.wait_for(_read(chunks, limit), self._request_timeout_s)
                environment["wsgi.input"], length = io.BytesIO(body), len(body)
            except asyncio.TimeoutError:
                environment["wsgi.input"], length = _Late(), 1
        environment["CONTENT_LENGTH"] = str(length)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, environment)

    def close(self) -> None:
        """Finish what was begun."""
        self._threads.shutdown()

    def _ask(self, environment: Dict[str, Any]) -> Answer:
        with self._app.request_context(environment):
            response = self._app.full_dispatch_request()
            body = b"" if environment["REQUEST_METHOD"] == "HEAD" else response.get_data()
            return Answer(response.status_code, list(response.headers.items()), body)


class _Late(io.RawIOBase):
    """In place of a body that did not come within its time."""

    def readinto(self, buffer: Any) -> int:
        raise RequestTimeout("the body did not come in time; send it again")


async def _read(chunks: AsyncIterator[bytes], limit: int) -> bytes:
    """The body, or its beginning, which is longer than `limit`, too."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > limit:
            break
    return bytes(body)


def _environment(head: Head) -> Dict[str, Any]:
    """WSGI's (PEP 3333), without the body."""
    environment: Dict[str, Any] = {
        "REQUEST_METHOD": head.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": head.path.encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": head.query,
        "SERVER_NAME": "ppsplit",  # stands in no answer
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": head.client,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        BEGAN: time.monotonic(),
    }
    for name, value in head.headers:
        key = _key(name)
        if key is not None:
            environment[key] = f"{environment[key]},{value}" if key in environment else value
    if not environment.get("CONTENT_LENGTH", "0").isdecimal():
        del environment["CONTENT_LENGTH"]  # nonsense; what comes is counted
    return environment


def _key(name: str) -> Optional[str]:
    """A header's name in the environment; None for one with an underscore, which could pass for another."""
    if "_" in name:
        return None
    upper = name.upper().replace("-", "_")
    return upper if upper in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{upper}"
