"""What is done for every request before and after it is served: id, access, digest; metrics and a line in the log."""

from __future__ import annotations

import logging
import time
from typing import Callable, Optional, TypeVar

from flask import Flask, Response, g, request

from ppsplit.cloud.metrics import OK
from ppsplit.cloud.rate import client_of
from ppsplit.cloud.refusal import RefusedError
from ppsplit.cloud.service import Service
from ppsplit.errors import WireError
from ppsplit.wire.http import (
    BEARER,
    DIGEST_HEADER,
    REQUEST_ID_HEADER,
    TIMEOUT_HEADER,
    check_request_id,
    content_digest,
    digest_matches,
    new_request_id,
    parse_timeout_ms,
)

BEGAN = "ppsplit.began_s"
"""In the WSGI environment: `time.monotonic()` when the request's first byte came, where the server knows it."""
OPEN_PATHS = ("/healthz", "/readyz")  # for those who watch the process, and tell nothing else

Value = TypeVar("Value")

log = logging.getLogger(__name__)


def add_guard(app: Flask, service: Service) -> None:
    """Put it around every request of `app`."""

    @app.before_request
    def before() -> None:
        g.began_s = request.environ.get(BEGAN, time.monotonic())
        g.request_id, g.code, g.client, g.bundle, g.times_ms = new_request_id(), OK, None, None, None
        given = request.headers.get(REQUEST_ID_HEADER)
        if given is not None:
            g.request_id = _header(check_request_id, given)
        g.client = client_of(request.remote_addr or "")
        if service.tokens is not None and request.path not in OPEN_PATHS:
            g.client = service.tokens.check(request.headers.get("Authorization"))

    @app.after_request
    def after(response: Response) -> Response:
        body = response.get_data()
        response.headers[REQUEST_ID_HEADER] = g.request_id
        if body and request.method != "HEAD":
            response.headers[DIGEST_HEADER] = content_digest(body)
        if response.status_code == 401:
            response.headers["WWW-Authenticate"] = BEARER
        _tell(service, response.status_code, len(body))
        return response


def admit(service: Service) -> float:
    """Let an inference request in.

    Returns:
        its deadline by `time.monotonic()`.

    Raises:
        RefusedError: shutting down, asked too often, or the header of its time is wrong.
    """
    if service.draining:
        raise RefusedError(503, "shutting_down", "the server is being ended; ask another one, or again")
    if service.rate is not None:
        service.rate.check(g.client)
    given = request.headers.get(TIMEOUT_HEADER)
    timeout_s = service.timeout_s if given is None else _header(parse_timeout_ms, given) / 1000
    return float(g.began_s) + timeout_s


def check_digest(body: bytes) -> None:
    """Raise RefusedError unless the body is what its sender says, if it says anything."""
    header: Optional[str] = request.headers.get(DIGEST_HEADER)
    if header is not None and not digest_matches(body, header):
        raise RefusedError(400, "bad_digest", "the body is not what Content-Digest says; it was damaged, send it again")


def _header(parse: Callable[[str], Value], text: str) -> Value:
    try:
        return parse(text)
    except WireError as error:
        raise RefusedError(400, "bad_header", str(error)) from error


def _tell(service: Service, status: int, bytes_out: int) -> None:
    route = request.url_rule.rule if request.url_rule is not None else "other"
    latency_s, bytes_in = time.monotonic() - g.began_s, request.content_length or 0
    service.metrics.request(route, g.code, latency_s, bytes_in, bytes_out)
    if g.times_ms is not None:
        service.metrics.stages(g.times_ms)
    if log.isEnabledFor(logging.INFO):
        log.info(
            "%s %s %d",
            request.method,
            request.path,
            status,
            extra={
                "request_id": g.request_id,
                "client": g.client,
                "method": request.method,
                "path": request.path[:200],
                "status": status,
                "code": g.code,
                "bundle": g.bundle,
                "bytes_in": bytes_in,
                "bytes_out": bytes_out,
                "latency_ms": round(latency_s * 1000, 3),
                "times_ms": g.times_ms,
            },
        )
