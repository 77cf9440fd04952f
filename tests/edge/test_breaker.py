"""When a server is worth a frame's time, by a clock that only moves when it is told to."""

from __future__ import annotations

from typing import List, Optional

import pytest

from ppsplit.edge.breaker import CLOSED, FAILURES, HALF_OPEN, LONGEST_HOLD_S, OPEN, Breaker


@pytest.fixture
def clock() -> List[float]:
    return [100.0]


@pytest.fixture
def breaker(clock: List[float]) -> Breaker:
    return Breaker("s", now=lambda: clock[0])


def opened(breaker: Breaker) -> Breaker:
    for _ in range(FAILURES):
        breaker.failed("broken")
    return breaker


def test_closed_it_admits_everything(breaker: Breaker) -> None:
    assert all(breaker.admits() for _ in range(9))
    assert (breaker.state, breaker.reason, breaker.held_s()) == (CLOSED, "", 0)


def test_only_failures_in_a_row_open_it(breaker: Breaker) -> None:
    for _ in range(5):
        for _ in range(FAILURES - 1):
            breaker.failed("broken")
        breaker.succeeded()
    assert breaker.state == CLOSED
    assert opened(breaker).state == OPEN
    assert not breaker.admits() and breaker.wants_probe
    assert breaker.reason == "broken"


def test_failures_that_take_long_count_double(breaker: Breaker) -> None:
    for _ in range(FAILURES // 2 - 1):
        breaker.failed("timed_out", slowly=True)
    assert breaker.state == CLOSED
    breaker.failed("timed_out", slowly=True)
    assert breaker.state == OPEN


def test_a_refusal_of_every_frame_opens_it_at_once(breaker: Breaker) -> None:
    breaker.failed("wrong_bundle", for_all=True)
    assert (breaker.state, breaker.reason) == (OPEN, "wrong_bundle")


@pytest.mark.parametrize(("fault", "state"), [(None, HALF_OPEN), ("wrong_bundle", OPEN)])
def test_a_probe_half_opens_it_or_tells_why_not(breaker: Breaker, fault: Optional[str], state: str) -> None:
    opened(breaker).probed(fault)
    assert breaker.state == state
    assert breaker.reason == (fault or "broken")


@pytest.mark.parametrize("ending", ["succeeded", "failed", "hold", "undecided"])
def test_half_open_it_admits_one_on_trial(breaker: Breaker, clock: List[float], ending: str) -> None:
    opened(breaker).probed(None)
    assert breaker.admits()
    assert not breaker.admits() and not breaker.promising
    if ending == "succeeded":
        breaker.succeeded()
        assert breaker.state == CLOSED and breaker.admits()
    elif ending == "failed":
        breaker.failed("timed_out")
        assert breaker.state == OPEN and not breaker.admits()
    elif ending == "hold":
        breaker.hold(2, "queue_full")
        assert breaker.state == HALF_OPEN and not breaker.admits()
        clock[0] += 2
        assert breaker.admits() and not breaker.admits()
    else:
        breaker.undecided()
        assert breaker.state == HALF_OPEN and breaker.admits()


def test_a_probe_says_nothing_of_a_closed_circuit(breaker: Breaker) -> None:
    breaker.probed("broken")
    breaker.probed(None)
    assert breaker.state == CLOSED


def test_a_server_that_asks_for_time_gets_it_and_no_more(breaker: Breaker, clock: List[float]) -> None:
    breaker.hold(3, "queue_full")
    breaker.hold(1, "queue_full")
    assert (breaker.state, breaker.held_s(), breaker.reason) == (CLOSED, 3, "queue_full")
    assert not breaker.admits() and not breaker.wants_probe
    clock[0] += 3
    assert breaker.admits()


def test_one_success_forgets_every_failure(breaker: Breaker) -> None:
    opened(breaker).succeeded()
    assert breaker.admits() and (breaker.state, breaker.reason) == (CLOSED, "")


def test_a_success_of_before_takes_no_time_from_a_server_that_asked_for_it(
    breaker: Breaker, clock: List[float]
) -> None:
    breaker.hold(9, "rate_limited")
    breaker.succeeded()
    assert not breaker.admits() and (breaker.held_s(), breaker.reason) == (9, "rate_limited")
    clock[0] += 9
    assert breaker.admits()
    breaker.succeeded()
    assert breaker.reason == ""


def test_no_server_keeps_the_edge_away_for_an_hour(breaker: Breaker, clock: List[float]) -> None:
    breaker.hold(3600, "not_ready")
    assert breaker.held_s() == LONGEST_HOLD_S
    clock[0] += LONGEST_HOLD_S
    assert breaker.admits()
