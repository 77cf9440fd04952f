"""The policy over simulated links: it keeps the target, it does not flap, and it comes back."""

from __future__ import annotations

from typing import List, Optional

import numpy as np
import pytest

from ppsplit.edge.adapt import UP_AFTER, AdaptivePolicy
from ppsplit.errors import ConfigError

NAMES = ["uint8", "uint4", "q80", "q40", "q10"]
BYTES = [45_000, 21_000, 11_000, 6_000, 2_500]
KBIT_64 = 8.0  # bytes a ms


class Wireless:
    """A link by its round trip and rate, and a client that gives up at its deadline."""

    def __init__(self, policy: AdaptivePolicy, deadline_ms: float = 1000.0, noise: float = 0.0) -> None:
        self.policy, self._deadline_ms, self._noise = policy, deadline_ms, noise
        self._rng = np.random.default_rng(0)
        self.taken_ms: List[float] = []
        self.points: List[int] = []

    def frames(
        self, count: int, rate: float, round_trip_ms: float = 5.0, edge_ms: Optional[List[float]] = None
    ) -> None:
        for number in range(count):
            index = self.policy.current
            if number % 10 == 0:
                self.policy.observe_round_trip(round_trip_ms)
            if edge_ms is not None:
                self.policy.observe_edge(index, edge_ms[index])
            payload = round(BYTES[index] * self._rng.uniform(0.9, 1.1))
            network_ms = round_trip_ms + payload / rate * (1 + self._noise * self._rng.uniform(-1, 1))
            in_time = network_ms < self._deadline_ms
            self.policy.observe(index, payload, min(network_ms, self._deadline_ms), 2.0, in_time)
            self.taken_ms.append(network_ms + (edge_ms[index] if edge_ms else 0.0))
            self.points.append(index)

    def changes(self, since: int = 0) -> int:
        return int(np.count_nonzero(np.diff(self.points[since:])))


def make(target_ms: float, names: List[str] = NAMES, sizes: List[int] = BYTES) -> AdaptivePolicy:
    return AdaptivePolicy(names, sizes, target_ms)


def test_a_fast_link_leaves_the_best_point_alone() -> None:
    link = Wireless(make(200))
    link.frames(200, rate=1000, round_trip_ms=5)
    assert set(link.points) == {0}
    assert link.policy.decision is None


@pytest.mark.parametrize(("target_ms", "expected"), [(3500, 1), (2000, 2), (1000, 3), (500, 4)])
def test_a_slow_link_gets_what_it_can_carry(target_ms: float, expected: int) -> None:
    link = Wireless(make(target_ms), deadline_ms=10_000)
    link.frames(60, rate=KBIT_64)
    assert link.points[-1] == expected
    assert link.taken_ms[-1] <= target_ms
    assert link.changes(20) == 0


def test_requests_that_never_end_in_time_bring_it_down_at_once() -> None:
    link = Wireless(make(400), deadline_ms=500)
    link.frames(6, rate=KBIT_64)
    assert link.points[:2] == [0, link.points[1]] and link.points[1] > 0
    assert link.points[-1] == 4
    decision = link.policy.decision
    assert decision is not None and "did not come in time" in decision.reason and "target 400 ms" in decision.reason


def test_a_drop_counts_at_once_and_a_gain_only_when_it_lasts() -> None:
    link = Wireless(make(150))
    link.frames(50, rate=1000)
    link.frames(50, rate=50)
    assert link.points[50 + 3] > 0  # down within three frames
    assert link.taken_ms[99] <= 150
    link.frames(UP_AFTER - 1, rate=1000)
    assert link.points[-1] == link.points[99]  # not yet
    link.frames(200, rate=1000)
    assert link.points[-1] == 0
    steps = np.diff(link.points[100:])
    assert (steps >= -1).all()  # one at a time


@pytest.mark.parametrize("noise", [0.2, 0.5])
@pytest.mark.parametrize("rate", [60, 100, 160, 240])
def test_a_noisy_link_near_a_threshold_does_not_make_it_flap(rate: float, noise: float) -> None:
    link = Wireless(make(150), noise=noise)
    link.frames(600, rate=rate)
    assert link.changes(100) <= 16  # of 500
    late = np.mean(np.array(link.taken_ms[100:]) > 150)
    assert late < 0.1


def test_where_nothing_keeps_the_target_it_takes_the_fastest_and_stays() -> None:
    link = Wireless(make(100))
    link.frames(200, rate=500, round_trip_ms=300)
    assert link.points[-1] == 4
    assert link.changes(20) == 0


def test_a_latency_that_comes_and_goes_is_no_matter_of_bytes() -> None:
    link = Wireless(make(100))
    link.frames(50, rate=1000, round_trip_ms=5)
    link.frames(50, rate=1000, round_trip_ms=300)
    link.frames(300, rate=1000, round_trip_ms=5)
    assert link.points[-1] == 0


def test_the_edges_own_time_counts() -> None:
    """A deeper cut sends less and computes longer; on a fast link that is no bargain."""
    edge_ms = [20.0, 120.0]
    policy = make(100, ["early/uint8", "deep/uint8"], [40_000, 10_000])
    for index, took in enumerate(edge_ms):
        policy.observe_edge(index, took)
    link = Wireless(policy, deadline_ms=5000)
    link.frames(30, rate=1000, edge_ms=edge_ms)
    assert link.points[-1] == 0
    link.frames(30, rate=20, edge_ms=edge_ms)  # 2 s against 0.5 s of sending
    assert link.points[-1] == 1
    link.frames(300, rate=1000, edge_ms=edge_ms)
    assert link.points[-1] == 0


def test_what_comes_late_of_an_earlier_point_decides_nothing() -> None:
    policy = make(100)
    assert policy.observe(0, 45_000, 900, 0, in_time=False) is not None
    now = policy.current
    assert now > 0
    assert policy.observe(0, 45_000, 900, 0, in_time=False) is None
    assert policy.current == now


@pytest.mark.parametrize(("sizes", "target_ms"), [([], 100.0), ([1], 0.0), ([1], -5.0), ([1, 2], 100.0)])
def test_what_is_no_policy_is_refused(sizes: List[int], target_ms: float) -> None:
    with pytest.raises(ConfigError):
        AdaptivePolicy(NAMES[: min(1, len(sizes))], sizes, target_ms)
