"""A server in this process, so that a test can reach into it; real sockets all the same."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any, Dict, Iterator, Optional

import urllib3

from ppsplit.cloud.app import create_app
from ppsplit.cloud.http_server import HttpServer
from ppsplit.cloud.service import Service
from ppsplit.wire import FEATURES_TYPE


class Running:
    """A server that answers at `url` until `stop`."""

    def __init__(self, service: Service, **limits: Any) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.url = "http://{}:{}".format(*self.address)
        self.server = HttpServer(create_app(service), service, self.listener, **limits)
        self.finished: Optional[bool] = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.finished = self.server.run(grace_s=10)

    def connect(self) -> socket.socket:
        """A connection of its own."""
        return socket.create_connection(self.address, timeout=10)

    def stop(self) -> None:
        """End it and wait for that."""
        self.server.stop()
        self._thread.join(20)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def running(service: Service, **limits: Any) -> Iterator[Running]:
    """Serve `service`, which is closed at the end; `limits` are `HttpServer`'s."""
    server = Running(service, **limits)
    try:
        yield server
    finally:
        server.stop()
        service.shelf.close()


def post(url: str, body: Any, content_type: str = FEATURES_TYPE, headers: Optional[Dict[str, str]] = None) -> Any:
    """POST without retries."""
    headers = {"Content-Type": content_type, **(headers or {})}
    return urllib3.request("POST", url, body=body, headers=headers, retries=False, timeout=20)


def until(condition: Any, seconds: float = 20) -> None:
    """Wait for it; fail when it does not come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)
