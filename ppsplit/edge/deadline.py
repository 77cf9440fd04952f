"""Connections whose timeout is for the whole answer: urllib3's is for each read, and a drop now and then defers it."""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection


class _Reader(io.RawIOBase):
    """What comes from a socket until the socket's timeout, counted from now, has passed."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket, self._stream = connected, connected.makefile("rb", buffering=0)
        self._timeout_s = connected.gettimeout()
        self._deadline = None if self._timeout_s is None else time.monotonic() + self._timeout_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        if self._deadline is not None:
            remaining_s = self._deadline - time.monotonic()
            if remaining_s <= 0:
                raise socket.timeout("timed out")
            self._socket.settimeout(remaining_s)
        return self._stream.readinto(buffer)

    def close(self) -> None:
        if not self.closed and self._socket.fileno() != -1:
            self._socket.settimeout(self._timeout_s)  # the next request's
        self._stream.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_Reader(sock))


class _Connection(HTTPConnection):
    response_class = _Response


class _TlsConnection(HTTPSConnection):
    response_class = _Response


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def pool_manager(connections: int) -> urllib3.PoolManager:
    """A pool of at most so many kept connections, without retries."""
    manager = urllib3.PoolManager(maxsize=connections, retries=False)
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
    return manager
