"""The link under a server that misbehaves: what is retried, how long it waits, and what it says in the end."""

from __future__ import annotations

import json
import socket
import time
from typing import Any, Callable, List

import pytest

from ppsplit.edge.link import MAX_BACKOFF_S, Link
from ppsplit.errors import ConfigError, LinkError, ServerRejectedError
from ppsplit.wire.http import DIGEST_HEADER, REQUEST_DIGEST_HEADER, REQUEST_ID_HEADER, content_digest, request_digest
from tests.edge.scripted_server import (
    Act,
    answer,
    drip,
    hang_up,
    header,
    read_request,
    reset,
    scripted,
    send,
    stay_silent,
    stop_reading,
)

OK = answer(200, b'{"fine": 1}')
REFUSAL = json.dumps({"error": {"code": "wrong_bundle", "message": "another\nbundle"}}).encode()
DAMAGED = json.dumps({"error": {"code": "bad_digest", "message": "the body does not match"}}).encode()
CUT_OFF = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"


def make(url: str, pauses: List[float], **options: Any) -> Link:
    return Link(url, sleep=pauses.append, **{"timeout_s": 5.0, **options})


@pytest.mark.parametrize(
    ("acts", "pauses"),
    [
        ([OK], 0),
        ([answer(503), OK], 1),
        ([answer(502), answer(504), answer(503), OK], 3),
        ([hang_up, OK], 1),
        ([reset, OK], 1),
        ([send(CUT_OFF), OK], 1),
        ([send(b"garbage\r\n\r\n"), OK], 1),
        ([answer(503), hang_up, OK], 2),
        ([answer(408), answer(425), answer(429), answer(500), OK], 4),
        ([answer(400, DAMAGED), OK], 1),
        ([answer(200, b"other", f"{REQUEST_ID_HEADER}: another"), OK], 1),
        ([answer(200, b"other", f"{DIGEST_HEADER}: {content_digest(b'more')}"), OK], 1),
        ([answer(200, b"other", f"{DIGEST_HEADER}: md5=:AAAA:"), OK], 1),
        ([send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother"), OK], 1),
    ],
)
def test_what_may_pass_is_tried_again(acts: List[Act], pauses: int) -> None:
    waited: List[float] = []
    with scripted(acts) as (url, done):
        reply = make(url, waited, retries=4).post("/v1/infer", b"x" * 1000, "text/plain")
    assert (reply.body, reply.content_type, reply.sent_bytes) == (b'{"fine": 1}', "application/json", 1000)
    assert len(waited) == pauses
    assert len(done) == len(acts)


@pytest.mark.parametrize("act", [answer(503), hang_up, reset, send(CUT_OFF)])
def test_retries_are_bounded(act: Act) -> None:
    waited: List[float] = []
    with scripted([act] * 9) as (url, _):
        with pytest.raises(LinkError) as caught:
            make(url, waited, retries=2).post("/", b"x" * 100_000, "text/plain")
    assert len(waited) == 2
    assert "\n" not in str(caught.value)
    assert url in str(caught.value)


@pytest.mark.parametrize("status", [400, 401, 404, 409, 413, 415, 422, 301, 204])
def test_a_no_is_not_asked_again(status: int) -> None:
    waited: List[float] = []
    with scripted([answer(status, REFUSAL if status != 204 else b"", "Location: http://127.0.0.1:1/")]) as (url, _):
        with pytest.raises(ServerRejectedError) as caught:
            make(url, waited).post("/v1/infer", b"", "text/plain")
    assert caught.value.status == status
    assert not waited
    if status != 204:
        assert caught.value.code == "wrong_bundle"
        assert str(caught.value).endswith(f"said no ({status} wrong_bundle): another bundle")


@pytest.mark.parametrize(
    "body", [b"", b"<html>nginx</html>", b"[]", b'{"error": 3}', b"\xff\xfe", b"x" * 10_000, b"[" * 200_000]
)
def test_a_no_in_other_words_is_one_short_line(body: bytes) -> None:
    with scripted([answer(502, body)]) as (url, _):
        with pytest.raises(ServerRejectedError) as caught:
            make(url, [], retries=0).post("/", b"", "text/plain")
    assert (caught.value.status, caught.value.code) == (502, "")
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_retry_after_is_obeyed_within_bounds() -> None:
    waited: List[float] = []
    with scripted([answer(503, b"", "Retry-After: 2"), answer(503, b"", "Retry-After: soon"), OK]) as (url, _):
        make(url, waited).post("/", b"", "text/plain")
    assert 1.9 < waited[0] <= 2.0
    assert 0 < waited[1] < 2  # what is left of the two seconds, in which nobody slept
    waited.clear()
    with scripted([answer(503, REFUSAL, "Retry-After: 3600")]) as (url, _):
        with pytest.raises(ServerRejectedError, match="asks to wait 3600 s"):
            make(url, waited).post("/", b"", "text/plain")
    assert not waited


def test_pauses_grow_with_jitter_up_to_a_bound() -> None:
    waited: List[float] = []
    with scripted([answer(503)] * 12) as (url, _):
        with pytest.raises(ServerRejectedError):
            make(url, waited, retries=10, backoff_s=0.5).post("/", b"", "text/plain")
    for attempt, pause in enumerate(waited):
        longest = min(MAX_BACKOFF_S, 0.5 * 2**attempt)
        assert longest / 2 <= pause <= longest
    assert len(set(waited)) == 10


def test_the_connection_is_kept() -> None:
    with scripted([OK, OK, OK]) as (url, done):
        link = make(url, [])
        for _ in range(3):
            link.post("/", b"x", "text/plain")
        link.close()
    assert done == [1, 1, 1]


def test_a_kept_connection_that_the_server_closed_meanwhile_is_replaced() -> None:
    def answer_and_close(connection: socket.socket) -> None:
        OK(connection)
        connection.close()

    with scripted([answer_and_close, OK]) as (url, done):
        link = make(url, [])
        assert link.post("/", b"x", "text/plain").body
        assert link.post("/", b"x", "text/plain").body
    assert done == [1, 2]


def test_silence_ends_at_the_timeout_and_is_not_tried_again() -> None:
    waited: List[float] = []
    start = time.monotonic()
    with scripted([stay_silent, OK]) as (url, _):
        with pytest.raises(LinkError, match=r"did not answer within 0\.[23]"):
            make(url, waited, timeout_s=0.3).post("/", b"", "text/plain")
    assert time.monotonic() - start < 2
    assert not waited


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 200 OK\r\nID\r\nContent-Length: 1000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nID\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nID\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nID\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n",
    ],
)
def test_drops_end_at_the_timeout_too(head: bytes) -> None:
    waited: List[float] = []
    start = time.monotonic()
    with scripted([drip(head), OK]) as (url, _):
        with pytest.raises(LinkError, match=r"did not answer within 0\.[23]"):
            make(url, waited, timeout_s=0.3).post("/", b"", "text/plain")
    assert time.monotonic() - start < 2
    assert not waited


def test_sending_is_under_the_timeout_too() -> None:
    start = time.monotonic()
    with scripted([stop_reading, OK]) as (url, _):
        with pytest.raises(LinkError, match="did not answer within") as caught:
            make(url, [], timeout_s=0.3).post("/", bytes(30_000_000), "text/plain")
    assert time.monotonic() - start < 2
    assert caught.value.reason == "timed_out"


def test_a_connection_that_was_late_but_not_too_late_is_as_good_as_new() -> None:
    def slowly(connection: socket.socket) -> None:
        time.sleep(0.4)
        OK(connection)

    with scripted([slowly, slowly, slowly]) as (url, done):
        link = make(url, [], timeout_s=0.6, retries=0)
        for _ in range(3):
            link.post("/", b"x", "text/plain")
    assert done == [1, 1, 1]


def test_what_a_terminal_would_obey_is_escaped() -> None:
    said = {"error": {"code": "a\x1b[2J", "message": "red \x1b[31m\x07\u202e\x9b é"}}
    with scripted([answer(400, json.dumps(said).encode())]) as (url, _):
        with pytest.raises(ServerRejectedError) as caught:
            make(url, []).post("/", b"", "text/plain")
    assert str(caught.value).endswith("(400 a\\x1b[2J): red \\x1b[31m\\x07\\u202e\\x9b é")


def test_nobody_there_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    waited: List[float] = []
    with pytest.raises(
        LinkError, match=rf"cannot reach the server at http://127.0.0.1:{port} \(Connection refused\).* \(4 attempts\)"
    ):
        make(f"http://127.0.0.1:{port}/", waited).post("/", b"", "text/plain")
    assert len(waited) == 3


def test_a_name_nobody_knows_is_one_clear_line() -> None:
    with pytest.raises(LinkError, match=r"cannot reach the server at http://nowhere\.invalid"):
        make("http://nowhere.invalid", [], retries=0).post("/", b"", "text/plain")


@pytest.mark.parametrize("url", ["", "localhost:80", "ftp://x", "http://", "http://[::1", "/path", "http://x:99999"])
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigError, match="address"):
        Link(url)


def test_an_endless_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppsplit.edge.exchange.MAX_ANSWER_BYTES", 1_000_000)

    def flood(connection: socket.socket) -> None:
        head, _ = read_request(connection)
        told = f"{REQUEST_ID_HEADER}: {header(head, REQUEST_ID_HEADER)}".encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n" + told + b"\r\n\r\n")
        while True:
            connection.sendall(bytes(65536))

    with scripted([flood]) as (url, _):
        with pytest.raises(LinkError, match="more than 1000000 bytes"):
            make(url, [], retries=0).post("/", b"", "text/plain")


def test_the_query_is_sent_and_an_answer_to_another_one_is_not_taken() -> None:
    seen: List[bytes] = []

    def look(connection: socket.socket) -> None:
        seen.append(connection.recv(65536, socket.MSG_PEEK))
        line = seen[-1].partition(b" HTTP/")[0]
        damaged = line.replace(b"=7", b"=5") if len(seen) == 1 else line
        told = request_digest(damaged.partition(b"?")[2], b"picture")
        answer(200, b"yes", *([] if len(seen) == 2 else [f"{REQUEST_DIGEST_HEADER}: {told}"]))(connection)

    wrapped: Callable[[socket.socket], None] = look
    with scripted([wrapped] * 3) as (url, _):
        options = {"bundle": "b1", "score_threshold": 0.001, "max_detections": 7}
        reply = make(url, []).post("/v1/infer-image", b"picture", "image/jpeg", options)
    assert (reply.body, len(seen)) == (b"yes", 3)
    assert seen[0].startswith(b"POST /v1/infer-image?bundle=b1&score_threshold=0.001&max_detections=7 HTTP/1.1")
