"""A connection of the HTTP server: when a request began, whose it is before its body comes, and refusals in JSON."""

from __future__ import annotations

import json
import logging
import time
from typing import Any, Dict, Optional

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import Error

from ppsplit.cloud.app import HTTP_CODES, error_json
from ppsplit.cloud.guard import BEGAN, OPEN_PATHS
from ppsplit.cloud.refusal import RefusedError
from ppsplit.errors import WireError
from ppsplit.wire.http import BEARER, DIGEST_HEADER, REQUEST_ID_HEADER, check_request_id, content_digest, new_request_id

log = logging.getLogger(__name__)


class _UnauthorizedError(Error):
    code, reason = 401, "Unauthorized"


class _Parser(HTTPRequestParser):
    """Refuses a stranger's request when its headers are there; the app would only see it with its body."""

    error: Optional[Error]

    def received(self, data: bytes) -> int:
        known = self.headers_finished
        consumed = int(super().received(data))
        tokens = self.adj.ppsplit_service.tokens
        if tokens is None or known or not self.headers_finished or self.error or self.path in OPEN_PATHS:
            return consumed
        try:
            tokens.check(self.headers.get("AUTHORIZATION"))
        except RefusedError as error:
            self.error, self.completed = _UnauthorizedError(str(error)), True
        return consumed


class _TimedTask(WSGITask):
    """Tells the app when the request began to come in."""

    def get_environment(self) -> Dict[str, Any]:
        environment: Dict[str, Any] = super().get_environment()
        environment[BEGAN] = getattr(self.request, "began_s", time.monotonic())
        return environment


class _JsonErrorTask(ErrorTask):
    """What waitress refuses by itself (sizes, broken HTTP), said as the app says it."""

    def execute(self) -> None:
        error = self.request.error
        code = HTTP_CODES.get(error.code, "internal" if error.code == 500 else "bad_request")
        body = json.dumps(error_json(code, f"{error.reason}: {error.body}")).encode("utf-8")
        self.status = f"{error.code} {error.reason}"
        headers = {"Content-Type": "application/json", DIGEST_HEADER: content_digest(body)}
        headers[REQUEST_ID_HEADER] = self._request_id()
        if error.code == 401:
            headers["WWW-Authenticate"] = BEARER
        self.response_headers += headers.items()
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)
        self._tell(error.code, code, headers[REQUEST_ID_HEADER], len(body))

    def _tell(self, status: int, code: str, request_id: str, bytes_out: int) -> None:
        seconds = time.monotonic() - getattr(self.request, "began_s", time.monotonic())
        self.channel.adj.ppsplit_service.metrics.request("other", code, seconds, 0, bytes_out)
        method, path = str(getattr(self.request, "command", "")), str(getattr(self.request, "path", ""))[:200]
        fields = {"request_id": request_id, "client": str(self.channel.addr[0]), "method": method, "path": path}
        numbers = {"status": status, "code": code, "bytes_out": bytes_out, "latency_ms": round(seconds * 1000, 3)}
        log.info("%s %s %d", method, path, status, extra={**fields, **numbers})

    def _request_id(self) -> str:
        try:
            return check_request_id(self.request.headers.get("PPSPLIT_REQUEST_ID", ""))
        except WireError:
            return new_request_id()


class Channel(HTTPChannel):
    """A connection that knows since when it waits for the rest of a request."""

    parser_class = _Parser
    task_class = _TimedTask
    error_task_class = _JsonErrorTask
    partial_since_s = None

    @property
    def partial_bytes(self) -> int:
        """Of the body of the request that has come in part."""
        return self.request.body_bytes_received if self.request is not None else 0

    def received(self, data: bytes) -> bool:
        began_s = self.partial_since_s or time.monotonic()
        known = len(self.requests)
        taken = bool(super().received(data))
        with self.requests_lock:
            for request in self.requests[known:]:
                request.began_s = began_s
            self.partial_since_s = began_s if self.request is not None else None
        return taken
