"""Waitress, a production WSGI server, with what it lacks: limits in time for whole requests, and a gentle end."""

from __future__ import annotations

import logging
import socket
import time
from typing import Any, Sequence

import waitress.server
from flask import Flask

from ppsplit.cloud.channel import Channel
from ppsplit.cloud.service import Service

# beside those that the room lets in: threads that refuse the others, and answer /healthz, without a wait
SPARE_THREADS = 8
# A request that comes half holds its connection: many may, none for long, and all fit the 1024 files of a process.
MAX_CONNECTIONS = 900
IDLE_TIMEOUT_S = 20
REQUEST_TIMEOUT_S = 30  # for all of a request to come, however steadily it drips
CLEANUP_INTERVAL_S = 2
MAX_HEADER_BYTES = 32 * 1024
# larger bodies wait in files: nine hundred connections times this is what half requests can hold of the memory
BODY_IN_MEMORY_BYTES = 256 * 1024
# bodies that have come in part, all together; who holds the most of it is cut off beyond
MAX_PARTIAL_BYTES = 256 * 1024 * 1024
POLL_S = 0.5
LOOK_EVERY_S = 0.1

log = logging.getLogger(__name__)


class HttpServer:
    """A waitress server on a bound socket.

    Args:
        app: made by `create_app` for `service`.
        service: gives the limits.
        listener: bound and listening.
        idle_timeout_s: for a connection on which nothing moves.
        request_timeout_s: for a request, from its first byte to its last.
        max_partial_bytes: of bodies that have come in part, on all connections together.
    """

    def __init__(
        self,
        app: Flask,
        service: Service,
        listener: socket.socket,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        max_partial_bytes: int = MAX_PARTIAL_BYTES,
    ) -> None:
        self._service, self._stopping, self._ended = service, False, False
        server: Any = waitress.server.create_server(
            app,
            sockets=[listener],
            threads=service.room.max_requests + SPARE_THREADS,
            ident=None,
            max_request_body_size=service.shelf.max_body_bytes + 1,  # waitress refuses at this size, not above it
            max_request_header_size=MAX_HEADER_BYTES,
            inbuf_overflow=BODY_IN_MEMORY_BYTES,
            connection_limit=MAX_CONNECTIONS,
            channel_timeout=idle_timeout_s,
            cleanup_interval=CLEANUP_INTERVAL_S,
            asyncore_use_poll=True,  # select takes no more than 1024 files
            clear_untrusted_proxy_headers=True,
        )
        server.channel_class = Channel
        server.adj.ppsplit_service = service
        self._server, self._request_timeout_s, self._look_s = server, request_timeout_s, 0.0
        self._max_partial_bytes = max_partial_bytes
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a queue is what a burst makes, no fault

    def stop(self) -> None:
        """Make `run` end. May be called from a signal's handler and from any thread."""
        self._service.draining = True
        self._stopping = True
        if not self._ended:
            self._server.pull_trigger()

    def run(self, grace_s: float) -> bool:
        """Serve until `stop`; then take on no more, and finish what was taken on.

        Args:
            grace_s: how long that may take at most.

        Returns:
            whether all was finished.
        """
        while not self._stopping:
            self._poll()
        self._service.draining = True
        self._server.accepting = False
        self._server.del_channel()
        self._server.socket.close()  # the port is free from here on
        until_s = time.monotonic() + grace_s
        while self._busy() and time.monotonic() < until_s:
            self._poll()
        finished = not self._busy()
        self._server.task_dispatcher.shutdown(timeout=1)
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()
        self._ended = True
        self._server.trigger.close()
        return finished

    def _poll(self) -> None:
        # follows the bundles: a new version may take longer messages
        self._server.adj.max_request_body_size = self._service.shelf.max_body_bytes + 1
        self._server.asyncore.loop(timeout=POLL_S, use_poll=True, map=self._server._map, count=1)
        if time.monotonic() >= self._look_s:
            self._look_s = time.monotonic() + LOOK_EVERY_S
            partial = [one for one in self._server.active_channels.values() if one.partial_since_s is not None]
            self._cut_slow(partial)
            self._cut_large(partial)

    def _busy(self) -> bool:
        """Whether a request is being served, or an answer is not all sent."""
        return any(channel.requests or channel.total_outbufs_len for channel in self._server.active_channels.values())

    def _cut_slow(self, partial: Sequence[Any]) -> None:
        oldest_s = time.monotonic() - self._request_timeout_s
        for channel in partial:
            if channel.partial_since_s < oldest_s:
                channel.will_close = True

    def _cut_large(self, partial: Sequence[Any]) -> None:
        held = sorted(((channel.partial_bytes, channel) for channel in partial), key=lambda one: one[0])
        total = sum(size for size, _ in held)
        while total > self._max_partial_bytes:
            size, channel = held.pop()
            channel.will_close = True
            total -= size
