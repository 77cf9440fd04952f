"""The link's side of wire/FORMAT.md section 6: deadlines, headers, ids, several servers, and who is left alone."""

from __future__ import annotations

import socket
import time
from typing import List

import pytest

from ppsplit.edge.breaker import FAILURES
from ppsplit.edge.link import Link
from ppsplit.errors import LinkError, ServerRejectedError
from ppsplit.wire.http import DIGEST_HEADER, REQUEST_ID_HEADER, TIMEOUT_HEADER, content_digest
from tests.edge.scripted_server import Act, answer, hang_up, header, read_request, scripted, stay_silent
from tests.edge.test_link import OK, REFUSAL, make


def test_a_frames_deadline_comes_before_the_timeout_and_before_retries() -> None:
    waited: List[float] = []
    with scripted([stay_silent]) as (url, _):
        with pytest.raises(LinkError, match="did not answer"):
            make(url, waited, timeout_s=60).post("/", b"", "text/plain", deadline=time.monotonic() + 0.2)
    with scripted([answer(503, REFUSAL, "Retry-After: 2")]) as (url, _):
        with pytest.raises(ServerRejectedError, match="asks to wait 2 s"):
            make(url, waited).post("/", b"", "text/plain", deadline=time.monotonic() + 1)
    with scripted([]) as (url, done):
        with pytest.raises(LinkError, match="no time left"):
            make(url, waited).post("/", b"", "text/plain", deadline=time.monotonic() - 1)
    assert not waited and not done


def test_the_headers_say_what_the_contract_wants() -> None:
    seen: List[bytes] = []

    def look(connection: socket.socket) -> None:
        seen.append(connection.recv(65536, socket.MSG_PEEK))
        OK(connection)

    with scripted([look, look]) as (url, _):
        link = make(url, [], token="s3cret")
        for _ in range(2):
            link.post("/", b"body", "text/plain", deadline=time.monotonic() + 1.5)
    heads = [data.partition(b"\r\n\r\n")[0] for data in seen]
    for head in heads:
        assert header(head, "Authorization") == "Bearer s3cret"
        assert header(head, DIGEST_HEADER) == content_digest(b"body")
        assert 1000 < int(header(head, TIMEOUT_HEADER)) <= 1500
    assert header(heads[0], REQUEST_ID_HEADER) != header(heads[1], REQUEST_ID_HEADER)


def test_a_second_answer_on_the_connection_is_nobodys() -> None:
    def twice(connection: socket.socket) -> None:
        head, _ = read_request(connection)
        told = f"{REQUEST_ID_HEADER}: {header(head, REQUEST_ID_HEADER)}\r\n{DIGEST_HEADER}: {content_digest(b'1')}"
        once = f"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n{told}\r\n\r\n1".encode()
        connection.sendall(once)
        time.sleep(0.2)
        connection.sendall(once)
        connection.close()

    with scripted([twice, answer(200, b"2")]) as (url, done):
        link = make(url, [])
        assert link.post("/", b"", "text/plain").body == b"1"
        time.sleep(0.4)
        assert link.post("/", b"", "text/plain").body == b"2"
    assert done == [1, 2]


@pytest.mark.parametrize("act", [answer(503), answer(401), answer(409, REFUSAL), hang_up])
def test_the_next_server_is_asked_at_once(act: Act) -> None:
    waited: List[float] = []
    with scripted([act]) as (first, _), scripted([answer(200, b"second")]) as (second, _):
        reply = Link([first, second], sleep=waited.append).post("/", b"", "text/plain")
    assert (reply.body, reply.server_url) == (b"second", second)
    assert not waited


def test_a_silent_first_server_leaves_time_for_the_second() -> None:
    with scripted([stay_silent]) as (first, _), scripted([answer(200, b"second")]) as (second, _):
        reply = Link([first, second], timeout_s=1).post("/", b"", "text/plain")
    assert reply.body == b"second"


def test_failing_fast_asks_nobody_while_the_circuit_is_open() -> None:
    with scripted([hang_up] * 9) as (url, done):
        link = make(url, [], fail_fast=True, retries=9)
        with pytest.raises(LinkError, match="cannot reach"):
            link.post("/", b"", "text/plain")
        with pytest.raises(LinkError, match="no server is worth asking") as caught:
            link.post("/", b"", "text/plain")
        link.close()
    assert caught.value.reason == "broken"
    assert len(done) == FAILURES


def test_a_server_that_asks_for_time_is_left_alone() -> None:
    with scripted([answer(503, REFUSAL, "Retry-After: 9"), OK]) as (url, done):
        link = make(url, [], fail_fast=True)
        for _ in range(3):
            with pytest.raises(LinkError) as caught:
                link.post("/", b"", "text/plain")
            assert caught.value.reason == "wrong_bundle"
        link.close()
    assert len(done) == 1
