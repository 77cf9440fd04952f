"""A server that does to each connection what a script says."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import Callable, Iterator, List, Tuple

from ppsplit.wire.http import DIGEST_HEADER, REQUEST_ID_HEADER, content_digest

Act = Callable[[socket.socket], None]


def answer(status: int, body: bytes = b"", *headers: str, content_type: str = "application/json") -> Act:
    """Read a request, answer it as wire/FORMAT.md section 6 says, keep the connection. `headers` replace its own."""

    def act(connection: socket.socket) -> None:
        head, _ = read_request(connection)
        told = [
            f"Content-Length: {len(body)}",
            f"Content-Type: {content_type}",
            f"{REQUEST_ID_HEADER}: {header(head, REQUEST_ID_HEADER)}",
            f"{DIGEST_HEADER}: {content_digest(body)}",
        ]
        ours = {line.partition(":")[0] for line in headers}
        lines = [f"HTTP/1.1 {status} X", *(line for line in told if line.partition(":")[0] not in ours), *headers]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    return act


def header(head: bytes, name: str) -> str:
    """The value of a request's header, "" where it has none."""
    lines = (line.partition(b":") for line in head.split(b"\r\n"))
    return next((value.strip().decode() for key, _, value in lines if key.lower() == name.lower().encode()), "")


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


def stop_reading(connection: socket.socket) -> None:
    """Read a little of a request and then nothing, so that the client cannot send the rest."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.recv(10)
    time.sleep(3)
    connection.close()


def stay_silent(connection: socket.socket) -> None:
    """Read a request and never answer."""
    read_request(connection)
    time.sleep(3)
    connection.close()


def drip(head: bytes) -> Act:
    """Read a request, send these bytes, its id for ID, and then a byte at a time, with never a long silence."""

    def act(connection: socket.socket) -> None:
        asked, _ = read_request(connection)
        connection.sendall(head.replace(b"ID", f"{REQUEST_ID_HEADER}: {header(asked, REQUEST_ID_HEADER)}".encode()))
        for _ in range(1000):
            connection.sendall(b"1")
            time.sleep(0.05)

    return act


def read_request(connection: socket.socket) -> Tuple[bytes, bytes]:
    """A whole request: its head, its body; raises ConnectionError when the client has gone."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(body) < sum(lengths):
        body += _some(connection)
    return head, body


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
