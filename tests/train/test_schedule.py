"""The learning rate."""

from __future__ import annotations

import pytest

from ppsplit.train.schedule import Schedule


def test_warm_up_rises_to_the_peak() -> None:
    schedule = Schedule(1.0, 100, warmup=10)
    rates = [schedule.rate(step) for step in range(11)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == pytest.approx(1.0)


def test_cosine_falls_to_its_floor() -> None:
    schedule = Schedule(2.0, 100, warmup=0, floor=0.1)
    rates = [schedule.rate(step) for step in range(101)]
    assert all(a > b for a, b in zip(rates, rates[1:]))
    assert rates[50] == pytest.approx(1.1) and rates[100] == pytest.approx(0.2)


def test_steps_fall_at_milestones() -> None:
    schedule = Schedule(1.0, 10, decay="step", milestones=(0.5, 0.8))
    assert [schedule.rate(step) for step in (0, 4, 5, 7, 8, 9)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
