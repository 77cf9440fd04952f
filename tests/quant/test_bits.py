"""Plans of bits: never over the limit, never worse than one width for all, near the optimum by brute force."""

from __future__ import annotations

import itertools
from typing import List, Tuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from ppsplit.errors import QuantizationError
from ppsplit.quant.bits import BIT_WIDTHS, Unit, plan_bits, uniform_plans


def decaying(elements: int, scale: float) -> dict:
    return {bits: scale * elements * 4.0**-bits for bits in BIT_WIDTHS}


def memory(units: List[Unit], plan: Tuple[int, ...]) -> int:
    steps = {step for unit in units for step in unit.steps or ()} or {0}
    return max(sum(u.bytes_at(b) for u, b in zip(units, plan) if u.steps is None or step in u.steps) for step in steps)


def optimum(units: List[Unit], limit: int) -> float:
    plans = itertools.product(BIT_WIDTHS, repeat=len(units))
    return min(sum(u.errors[b] for u, b in zip(units, plan)) for plan in plans if memory(units, plan) <= limit)


@st.composite
def problems(draw: st.DrawFn, chain: bool) -> Tuple[List[Unit], int]:
    """A few layers, with measured (so not always falling) errors; in a chain, activations of one step or two."""
    errors = st.lists(st.floats(0, 10), min_size=4, max_size=4)
    units = []
    for index in range(draw(st.integers(1, 3 if chain else 5))):
        measured = dict(zip(BIT_WIDTHS, sorted(draw(errors), reverse=draw(st.integers(0, 9)) > 0)))
        units.append(Unit(f"w{index}", draw(st.integers(1, 200)), measured, overhead_bytes=draw(st.integers(0, 8))))
        if chain:
            steps = (index, index + 1) if draw(st.booleans()) else (index,)
            measured = dict(zip(BIT_WIDTHS, sorted(draw(errors), reverse=True)))
            units.append(Unit(f"a{index}", draw(st.integers(1, 200)), measured, steps))
    small, large = (memory(units, (bits,) * len(units)) for bits in (2, 8))
    return units, draw(st.integers(small, large + 1))


def largest_gain(units: List[Unit]) -> float:
    return max(max(unit.errors.values()) - min(unit.errors.values()) for unit in units)


def check_promises(units: List[Unit], limit: int) -> Tuple[float, float]:
    """What holds for every plan; returns its error and the optimum."""
    plan = plan_bits(units, limit)
    widths = tuple(plan.bits[unit.name] for unit in units)
    assert plan.memory_bytes == memory(units, widths) <= limit
    assert plan.error == pytest.approx(sum(u.errors[b] for u, b in zip(units, widths)))
    fitting = [uniform.error for uniform in uniform_plans(units) if uniform.memory_bytes <= limit]
    assert plan.error <= min(fitting) * (1 + 1e-9) + 1e-12
    best = optimum(units, limit)
    assert plan.bound <= best * (1 + 1e-9) + 1e-9
    assert plan.bound <= plan.error
    return plan.error, best


@settings(max_examples=60, deadline=None)
@given(problems(chain=False))
def test_weights_alone_are_within_one_gain_of_the_optimum(case: Tuple[List[Unit], int]) -> None:
    error, best = check_promises(*case)
    assert error <= best + largest_gain(case[0]) + 1e-9


@settings(max_examples=60, deadline=None)
@given(problems(chain=True))
def test_weights_and_activations_keep_the_promises(case: Tuple[List[Unit], int]) -> None:
    check_promises(*case)


def random_network(seed: int, layers: int) -> Tuple[List[Unit], int]:
    rng = np.random.default_rng(seed)
    units = []
    for index in range(layers):
        weights, outputs = int(rng.integers(50, 5000)), int(rng.integers(50, 5000))
        units.append(Unit(f"w{index}", weights, decaying(weights, rng.uniform(0.1, 10))))
        units.append(Unit(f"a{index}", outputs, decaying(outputs, rng.uniform(0.1, 10)), (index, index + 1)))
    small, large = (memory(units, (bits,) * len(units)) for bits in (2, 8))
    return units, int(small + rng.uniform(0.15, 0.85) * (large - small))


def test_networks_of_four_layers_are_mostly_solved() -> None:
    """4^8 plans each."""
    ratios = [error / best for error, best in (check_promises(*random_network(seed, 4)) for seed in range(4))]
    assert np.mean(ratios) <= 1.1 and max(ratios) <= 1.3


def exact(units: List[Unit], limit: int) -> float:
    """The optimum by mixed integer programming."""
    widths, steps = len(BIT_WIDTHS), 1 + max(step for unit in units for step in unit.steps or ())
    errors = np.array([u.errors[b] for u in units for b in BIT_WIDTHS])
    memory_rows = np.array(
        [[u.bytes_at(b) * (u.steps is None or s in u.steps) for u in units for b in BIT_WIDTHS] for s in range(steps)]
    )
    one_each = np.kron(np.eye(len(units)), np.ones(widths))
    solved = optimize.milp(
        errors,
        integrality=np.ones(errors.size),
        bounds=optimize.Bounds(0, 1),
        constraints=[
            optimize.LinearConstraint(memory_rows, -np.inf, limit),
            optimize.LinearConstraint(one_each, 1, 1),
        ],
        options={"mip_rel_gap": 1e-3, "time_limit": 20},
    )
    return float(solved.fun)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_network_of_forty_layers_is_nearly_solved(seed: int) -> None:
    units, limit = random_network(100 + seed, 40)
    plan = plan_bits(units, limit)
    assert plan.memory_bytes <= limit
    best = exact(units, limit)
    assert plan.error <= 1.05 * best
    assert 0.9 * best <= plan.bound <= best * 1.002


def test_a_loose_limit_gives_the_least_error_and_a_tight_one_the_least_bits() -> None:
    units, _ = random_network(5, 3)
    assert set(plan_bits(units, 10**9).bits.values()) == {8}
    assert plan_bits(units, 10**9).bound == pytest.approx(sum(unit.errors[8] for unit in units))
    assert set(plan_bits(units, memory(units, (2,) * 6)).bits.values()) == {2}


def test_sensitive_layers_get_more_bits() -> None:
    units = [Unit("calm", 1000, decaying(1000, 0.001)), Unit("touchy", 1000, decaying(1000, 1000.0))]
    plan = plan_bits(units, 1250)
    assert plan.bits == {"calm": 2, "touchy": 8}
    assert plan.error < 0.2 * min(u.error for u in uniform_plans(units) if u.memory_bytes <= 1250)


def test_activations_that_are_not_alive_together_do_not_share_the_memory() -> None:
    together = [Unit(name, 100, decaying(100, 1.0), (0,)) for name in ("a", "b")]
    apart = [Unit(name, 100, decaying(100, 1.0), (step,)) for step, name in enumerate("ab")]
    assert sum(plan_bits(together, 100).bits.values()) == 8
    assert plan_bits(apart, 100).bits == {"a": 8, "b": 8}


def test_what_does_not_fit_says_what_would() -> None:
    with pytest.raises(QuantizationError, match="2 bits everywhere it takes 259"):
        plan_bits([Unit("w", 1000, decaying(1000, 1.0), overhead_bytes=9)], 258)


@pytest.mark.parametrize(
    "units",
    [
        [],
        [Unit("w", 1, {2: 1.0, 4: 0.5, 6: 0.1})],
        [Unit("w", 1, {2: 1.0, 4: float("nan"), 6: 0.1, 8: 0})],
        [Unit("w", 1, {2: 1.0, 4: -1.0, 6: 0.1, 8: 0})],
        [Unit("w", 1, decaying(1, 1.0)), Unit("w", 2, decaying(2, 1.0))],
    ],
    ids=["none", "missing", "nan", "negative", "same name"],
)
def test_tables_with_holes_are_refused(units: List[Unit]) -> None:
    with pytest.raises(QuantizationError):
        plan_bits(units, 10**6)
