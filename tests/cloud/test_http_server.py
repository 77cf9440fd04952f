"""Real sockets: clients that are slow, gone or rude, and an end that loses nothing."""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Iterator, List

import pytest

from ppsplit.cloud.programs import EngineOptions, Programs
from ppsplit.cloud.service import Service, make_service
from ppsplit.wire.http import digest_matches
from tests.cloud.requests import frame
from tests.cloud.running import Running, post, running, until
from tests.tiny_bundle import get

TOKEN = "a-token-of-24-characters"
HTTP = b"POST /v1/infer HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ppsplit-features\r\n"


@pytest.fixture
def service(tiny_bundle: Path) -> Service:
    made = make_service([tiny_bundle], EngineOptions(max_batch=2), max_requests=4)
    made.shelf.warm_up()
    return made


@pytest.fixture
def server(service: Service) -> Iterator[Running]:
    with running(service, idle_timeout_s=1, request_timeout_s=2) as made:
        yield made


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """What comes, up to and with `end`."""
    received = b""
    while end not in received:
        chunk = connection.recv(65536)
        assert chunk, received
        received += chunk
    return received


def is_cut(connection: socket.socket) -> bool:
    """Whether the server has closed its side."""
    readable, _, _ = select.select([connection], [], [], 0)
    try:
        return bool(readable) and not connection.recv(1 << 16)
    except ConnectionError:
        return True


def test_a_request_that_drips_is_cut_however_steadily_it_drips(server: Running) -> None:
    with server.connect() as slow, server.connect() as slower:
        slow.sendall(HTTP + b"Content-Length: 1000\r\n\r\n")
        start, lines = time.monotonic(), 0
        while not (is_cut(slow) and is_cut(slower)):
            assert time.monotonic() - start < 20, "it was never cut"
            for connection, drop in ((slow, b"x"), (slower, b"X-%d: 1\r\n" % lines if lines else HTTP)):
                try:
                    connection.sendall(drop)  # each well within the idle timeout
                except ConnectionError:
                    pass
            lines += 1
            time.sleep(0.2)
    assert get(server.url + "/healthz").status == 200


def test_a_connection_on_which_nothing_comes_is_cut(server: Running, tiny_bundle: Path) -> None:
    with server.connect() as silent, server.connect() as half:
        half.sendall(HTTP[:30])
        until(lambda: is_cut(silent))
        until(lambda: is_cut(half))
    assert post(server.url + "/v1/infer", frame(tiny_bundle)).status == 200


def test_half_closed_connections_are_cut(server: Running, tiny_bundle: Path) -> None:
    good = frame(tiny_bundle)
    with server.connect() as before, server.connect() as amid:
        before.shutdown(socket.SHUT_WR)
        amid.sendall(HTTP + b"Content-Length: %d\r\n\r\n" % len(good) + good[:100])
        amid.shutdown(socket.SHUT_WR)
        until(lambda: is_cut(before))
        until(lambda: is_cut(amid))
    until(lambda: not server.server._server.active_channels)
    assert post(server.url + "/v1/infer", good).status == 200


def test_half_bodies_never_hold_more_than_a_limit(service: Service, tiny_bundle: Path) -> None:
    size = service.shelf.max_body_bytes // 2
    with running(service, max_partial_bytes=3 * size) as server, contextlib.ExitStack() as stack:
        many = [stack.enter_context(server.connect()) for _ in range(8)]
        for connection in many:
            with contextlib.suppress(ConnectionError):
                connection.sendall(HTTP + b"Content-Length: %d\r\n\r\n" % (2 * size) + bytes(size))
        until(lambda: sum(is_cut(connection) for connection in many if connection.fileno() >= 0) >= 5)
        channels = list(server.server._server.active_channels.values())
        assert sum(channel.partial_bytes for channel in channels) <= 3 * size
        assert post(server.url + "/v1/infer", frame(tiny_bundle)).status == 200


class Gate:
    """Holds up every program until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.inside, run = threading.Event(), 0, Programs.run

        def held(programs: Programs, *arguments: Any) -> Any:
            self.inside += 1
            assert self.open.wait(20)
            return run(programs, *arguments)

        monkeypatch.setattr(Programs, "run", held)


def test_what_is_too_much_is_refused_while_the_rest_is_served(
    server: Running, service: Service, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, good = Gate(monkeypatch), frame(tiny_bundle)
    with ThreadPoolExecutor(4) as pool:
        taken = [pool.submit(post, server.url + "/v1/infer", good) for _ in range(4)]
        until(lambda: service.room.taken == 4)
        for _ in range(20):
            refused = post(server.url + "/v1/infer", good)
            assert (refused.status, refused.json()["error"]["code"]) == (503, "queue_full")
            assert refused.headers["Retry-After"] == "1"
        assert get(server.url + "/readyz").status == 200
        gate.open.set()
        assert [one.result(20).status for one in taken] == [200] * 4
    assert post(server.url + "/v1/infer", good).status == 200


def test_time_in_the_queue_counts(server: Running, service: Service, tiny_bundle: Path, monkeypatch) -> None:
    gate, good = Gate(monkeypatch), frame(tiny_bundle)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(post, server.url + "/v1/infer", good)
        until(lambda: gate.inside == 1)
        late = pool.submit(post, server.url + "/v1/infer", good, headers={"PPSplit-Timeout-Ms": "200"})
        until(lambda: service.room.taken == 2)
        time.sleep(0.25)
        gate.open.set()
        assert first.result(20).status == 200
        assert (late.result(20).status, late.result(20).json()["error"]["code"]) == (503, "deadline_passed")
    assert gate.inside == 1


def test_the_end_finishes_what_was_taken_on(service: Service, tiny_bundle: Path, monkeypatch) -> None:
    gate, good = Gate(monkeypatch), frame(tiny_bundle)
    with running(service) as server, ThreadPoolExecutor(4) as pool:
        kept = server.connect()
        kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b'{"alive": true}' in read_until(kept, b"}")
        taken: List[Any] = [pool.submit(post, server.url + "/v1/infer", good) for _ in range(3)]
        until(lambda: service.room.taken == 3)
        server.server.stop()
        until(lambda: service.draining and server.listener.fileno() == -1)
        with pytest.raises(ConnectionError):
            server.connect()
        kept.sendall(HTTP + b"Content-Length: %d\r\n\r\n" % len(good) + good)
        assert b'"shutting_down"' in read_until(kept, b"}}")
        kept.close()
        gate.open.set()
        assert [one.result(20).status for one in taken] == [200] * 3
        server.stop()
        assert server.finished is True


def test_what_waitress_refuses_carries_id_and_digest_and_is_counted(server: Running, service: Service) -> None:
    with server.connect() as connection:
        connection.sendall(HTTP + b"PPSplit-Request-Id: frame-7\r\nContent-Length: 99999999999\r\n\r\n")
        answer = read_until(connection, b"}}")
    head, _, body = answer.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert headers["Ppsplit-Request-Id"] == "frame-7"
    assert digest_matches(body, headers["Content-Digest"])
    until(lambda: b'outcome="too_large",route="other"' in service.metrics.text())


def test_a_stranger_is_refused_before_the_body_is_read(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(TOKEN)
    service = make_service([tiny_bundle], tokens=tmp_path / "tokens")
    announced = HTTP + b"Content-Length: 5000\r\n"  # and not a byte of it
    with running(service) as server:
        for header in (b"", b"Authorization: Bearer wrong\r\n"):
            with server.connect() as connection:
                connection.sendall(announced + header + b"\r\n")
                answer = read_until(connection, b"}}")
                assert answer.startswith(b"HTTP/1.1 401 ")
                assert b'{"error": {"code": "unauthorized"' in answer
                assert b"Www-Authenticate: Bearer\r\n" in answer
                until(lambda: is_cut(connection))
        with server.connect() as connection:
            connection.sendall(announced + b"Authorization: Bearer " + TOKEN.encode() + b"\r\n\r\n" + bytes(5000))
            assert read_until(connection, b"}}").startswith(b"HTTP/1.1 400 ")  # it was read
        assert get(server.url + "/healthz").status == 200
        good, known = frame(tiny_bundle), {"Authorization": f"Bearer {TOKEN}"}
        assert post(server.url + "/v1/infer", good, headers=known).status == 200


def serve_fails(*arguments: str) -> str:
    command = [sys.executable, "-m", "ppsplit", "serve", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    return done.stderr


def test_other_machines_need_a_token(tiny_bundle: Path, tmp_path: Path) -> None:
    message = serve_fails("--bundle", str(tiny_bundle), "--host", "0.0.0.0", "--port", "0")
    assert "--tokens" in message
    assert "--insecure" in message
    assert "Traceback" not in message
    empty = tmp_path / "tokens"
    empty.write_text("")
    assert "holds no token" in serve_fails(
        "--bundle", str(tiny_bundle), "--host", "0.0.0.0", "--port", "0", "--tokens", str(empty)
    )
