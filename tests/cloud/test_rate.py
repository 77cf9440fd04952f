"""Limits for each client."""

from __future__ import annotations

import time

import pytest

from ppsplit.cloud.rate import Rate, client_of, is_loopback
from ppsplit.cloud.refusal import RefusedError
from ppsplit.cloud.room import Room
from ppsplit.errors import ConfigError


def test_what_is_over_the_rate_is_refused_for_that_client_alone() -> None:
    rate = Rate("3/minute")
    for _ in range(3):
        rate.check("a")
    with pytest.raises(RefusedError, match="3 per 1 minute") as caught:
        rate.check("a")
    assert (caught.value.status, caught.value.code) == (429, "rate_limited")
    assert caught.value.retry_after_s is not None
    assert 1 <= caught.value.retry_after_s <= 61
    rate.check("b")


def test_the_window_moves_by_a_clock_that_nobody_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    rate = Rate("2/minute", now=lambda: clock[0])
    for seconds in (0.0, 50.0):
        clock[0] = seconds
        rate.check("a")
    for wrong_s in (0.0, 1e9):
        monkeypatch.setattr(time, "time", lambda now=wrong_s: now)
        with pytest.raises(RefusedError) as caught:
            rate.check("a")
        assert caught.value.retry_after_s == 10
    clock[0] = 60.0
    rate.check("a")
    with pytest.raises(RefusedError):
        rate.check("a")


def test_clients_are_forgotten_after_their_window() -> None:
    clock = [0.0]
    rate = Rate("2/second", now=lambda: clock[0])
    for number in range(1000):
        clock[0] += 0.01
        rate.check(str(number))
    assert len(rate) <= 101


@pytest.mark.parametrize("wrong", ["", "many", "5", "5/fortnight", "-1/second", "0/second"])
def test_rates_that_are_none_are_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match="20/second"):
        Rate(wrong)


def test_clients_by_address() -> None:
    assert client_of("192.0.2.7") == "192.0.2.7"
    assert client_of("2001:db8:1:2:3:4:5:6") == client_of("2001:db8:1:2::") == "2001:db8:1:2::/64"
    assert client_of("fe80::1%eth0") == "fe80::/64"
    assert client_of("") == ""


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True)]
    + [(host, False) for host in ("0.0.0.0", "::", "", "192.168.1.4", "example.org", "localhost.example.org")],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) == expected


def test_a_full_room_refuses_and_has_place_again() -> None:
    room = Room(2)
    with room.place(), room.place():
        assert room.taken == 2
        with pytest.raises(RefusedError, match="2 requests") as caught:
            room.place().__enter__()
        assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == (503, "queue_full", 1)
    assert room.taken == 0
    with pytest.raises(KeyError), room.place():
        raise KeyError
    assert room.taken == 0
    with pytest.raises(ConfigError, match="max_requests"):
        Room(0)
