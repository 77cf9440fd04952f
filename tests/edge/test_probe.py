"""Probes: what counts as being back, and how soon it is noticed."""

from __future__ import annotations

import json
import socket
import time
from typing import Any, List, Optional

import pytest

from ppsplit.edge.breaker import HALF_OPEN, OPEN, Breaker
from ppsplit.edge.exchange import Server
from ppsplit.edge.link import Link
from ppsplit.edge.probe import FIRST_PAUSE_S, LONGEST_PAUSE_S, PROBE_TIMEOUT_S, Prober
from ppsplit.errors import LinkError
from tests.edge.scripted_server import answer, hang_up, scripted

OURS, OTHER = "a" * 64, "b" * 64


def listing(**ready: bool) -> bytes:
    names = {"ours": OURS, "other": OTHER}
    return json.dumps(
        [{"name": n, "fingerprint": names[n], "ready": is_ready} for n, is_ready in ready.items()]
    ).encode()


@pytest.mark.parametrize(
    ("body", "fingerprint", "fault"),
    [
        (listing(), None, "not_ready"),
        (listing(ours=True), OURS, None),
        (listing(ours=True), None, None),
        (listing(other=True, ours=True), OURS, None),
        (listing(ours=False), OURS, "not_ready"),
        (listing(other=True), OURS, "wrong_bundle"),
        (listing(other=False), None, "not_ready"),
        (b"{}", OURS, "wrong_bundle"),
        (b"[{}]", OURS, "unreadable"),
        (b"[" * 100_000, OURS, "unreadable"),
        (b"<html>", None, "unreadable"),
    ],
)
def test_a_server_is_back_when_it_serves_our_bundle(body: bytes, fingerprint: Any, fault: Optional[str]) -> None:
    with scripted([answer(200, body)]) as (url, _):
        told, elapsed_ms = Prober(Server(url), Breaker(), fingerprint, 1.0).probe()
    assert told == fault
    assert elapsed_ms > 0


def test_what_the_link_says_is_the_fault() -> None:
    refusal = json.dumps({"error": {"code": "unauthorized", "message": "no"}}).encode()
    for act, fault in ((hang_up, "broken"), (answer(401, refusal), "unauthorized"), (answer(503), "http_503")):
        with scripted([act]) as (url, _):
            assert Prober(Server(url), Breaker(), None, 1.0).probe()[0] == fault


def test_an_open_circuit_is_probed_until_it_half_opens_and_then_one_exchange_decides() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    link = Link(f"http://127.0.0.1:{port}", fail_fast=True, retries=20, backoff_s=0.001, fingerprint=OURS)
    with pytest.raises(LinkError):
        link.post("/", b"", "text/plain")
    breaker = link.breakers[0]
    assert breaker.state == OPEN
    seen: List[bytes] = []

    def back(connection: socket.socket) -> None:
        seen.append(connection.recv(65536, socket.MSG_PEEK).split(b"\r\n")[0])
        answer(200, listing(ours=True))(connection)

    start = time.monotonic()
    with scripted([back, back], port) as (_, _):
        while breaker.state == OPEN and time.monotonic() - start < 5:
            time.sleep(0.01)
        assert breaker.state == HALF_OPEN
        assert link.post("/v1/infer", b"x", "text/plain").body == listing(ours=True)
    assert breaker.state == "closed"
    assert seen == [b"GET /v1/bundles HTTP/1.1", b"POST /v1/infer HTTP/1.1"]
    link.close()


def test_it_is_never_more_than_five_seconds_between_being_back_and_being_asked() -> None:
    """A probe may have begun just before, and hang; then comes the longest pause, and the probe that succeeds."""
    assert FIRST_PAUSE_S <= LONGEST_PAUSE_S
    assert PROBE_TIMEOUT_S + LONGEST_PAUSE_S + PROBE_TIMEOUT_S < 5


def test_a_probe_that_fails_as_nobody_thought_of_is_a_fault_and_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server("http://127.0.0.1:1")
    monkeypatch.setattr(server, "get", lambda *_: 1 / 0)
    assert Prober(server, Breaker("there"), None, 1.0).probe() == ("unreadable", 0.0)
