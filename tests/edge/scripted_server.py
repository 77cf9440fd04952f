"""A server that does to each connection what a script says."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import Callable, Iterator, List, Tuple

Act = Callable[[socket.socket], None]


def answer(status: int, body: bytes = b"", *headers: str, content_type: str = "application/json") -> Act:
    """Read a request, answer it, keep the connection."""

    def act(connection: socket.socket) -> None:
        read_request(connection)
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", f"Content-Type: {content_type}", *headers]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    return act


def send(data: bytes) -> Act:
    """Read a request, send these bytes and hang up."""

    def act(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(data)
        connection.close()

    return act


def hang_up(connection: socket.socket) -> None:
    """Read a request and close without a word."""
    read_request(connection)
    connection.close()


def reset(connection: socket.socket) -> None:
    """Read a little and cut the connection in the middle of the request."""
    connection.recv(10)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def stay_silent(connection: socket.socket) -> None:
    """Read a request and never answer."""
    read_request(connection)
    time.sleep(3)
    connection.close()


def drip(head: bytes) -> Act:
    """Read a request, send these bytes and then a byte at a time, with never a long silence."""

    def act(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(head)
        for _ in range(1000):
            connection.sendall(b"1")
            time.sleep(0.05)

    return act


def read_request(connection: socket.socket) -> bytes:
    """A whole request with its body; raises ConnectionError when the client has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(body) < sum(lengths):
        body += _some(connection)
    return body


def _some(connection: socket.socket) -> bytes:
    chunk = connection.recv(65536)
    if not chunk:
        raise ConnectionError
    return chunk


@contextlib.contextmanager
def scripted(acts: List[Act]) -> Iterator[Tuple[str, List[int]]]:
    """Yields the URL, and a list with the connection's number for each act that was carried out.

    A connection is served act after act until an act closes it; then the next connection takes the next act.
    """
    waiting, done = list(acts), []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        number = 0
        while waiting:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            number += 1
            with connection:
                while waiting and connection.fileno() != -1:
                    try:
                        waiting[0](connection)
                    except OSError:
                        break
                    waiting.pop(0)
                    done.append(number)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", done
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`
        listener.close()
        thread.join(timeout=0.5)  # the last act is noted only after the client has its answer
