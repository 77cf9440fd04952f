"""Connections that keep to one deadline in all they do: connecting, sending, waiting, every read of the answer.

urllib3's timeouts are for each read; a drop now and then defers them without end, and sending has none of its own.
"""

from __future__ import annotations

import functools
import http.client
import io
import math
import socket
import threading
import time
from typing import Any, Optional

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection


class Clock(threading.local):
    """When the exchange that this thread is at has to be over. Monotonic: whoever sets the clock changes nothing.

    Attributes:
        deadline: of `time.monotonic`.
    """

    deadline: float = math.inf

    def remaining_s(self) -> Optional[float]:
        """Seconds that are left, as a socket takes them. Raises socket.timeout when there are none."""
        if self.deadline == math.inf:
            return None
        remaining_s = self.deadline - time.monotonic()
        if remaining_s <= 0:
            raise socket.timeout("timed out")
        return remaining_s


class _Reader(io.RawIOBase):
    """What comes from a socket until the clock's deadline."""

    def __init__(self, connected: socket.socket, clock: Clock) -> None:
        self._socket, self._clock = connected, clock
        self._stream = connected.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        self._socket.settimeout(self._clock.remaining_s())
        return self._stream.readinto(buffer)

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, clock: Clock, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_Reader(sock, clock))


class _Timed:
    """Of a connection: sends piece by piece, each with what is then left of the time."""

    sock: Any

    def __init__(self, *arguments: Any, clock: Clock, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._clock = clock
        self.response_class = functools.partial(_Response, clock)

    def send(self, data: bytes) -> None:
        """All of `data`, in the clock's time. Raises OSError."""
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined]
        rest = memoryview(data)
        while rest:
            self.sock.settimeout(self._clock.remaining_s())
            rest = rest[self.sock.send(rest) :]


class _Connection(_Timed, HTTPConnection):  # type: ignore[misc]
    pass


class _TlsConnection(_Timed, HTTPSConnection):  # type: ignore[misc]
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def connection_pool(address: urllib3.util.Url, connections: int, clock: Clock) -> urllib3.HTTPConnectionPool:
    """At most so many kept connections to one server, under `clock`, without retries."""
    kind = _TlsPool if address.scheme == "https" else _Pool
    return kind(address.host or "", address.port, maxsize=connections, retries=False, clock=clock)
