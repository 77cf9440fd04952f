"""Bits for every layer's weights and every activation under a memory limit, with the least output error.

Banitalebi-Dehkordi, Vedula, Pei, Xia, Wang, Zhang, "Auto-Split: A General Framework of Collaborative Edge-Cloud
AI", KDD 2021 (arXiv:2108.13041), section 4 and appendix: measured errors added up, and Lagrange multipliers over a
few bit widths (after Shoham and Gersho, "Efficient bit allocation for an arbitrary set of quantizers", 1988).

Auto-Split searches weights and activations apart, each under its share of the memory, over a grid of shares. Here
it is one problem. At every step (an operator) all weights and the activations alive are in memory, so

    minimise  sum of error[u][bits_u]
    so that   sum over the units u alive at step s of bytes[u][bits_u]  <=  limit,   for every step s

is the same as weights + the largest working set <= limit, and weights are units that are alive at every step. A
price on every step's memory (a multiplier) makes the choice of each unit its own: the least error + price * bytes.
Whatever the prices, that sum minus price * limit lies below every plan's error: a bound that comes with the plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ppsplit.errors import QuantizationError

BIT_WIDTHS = (2, 4, 6, 8)
PRICE_STEPS = 120


@dataclass(frozen=True)
class Unit:
    """A layer's weights or one activation: what gets a width of its own.

    Attributes:
        name: unique.
        elements: how many numbers.
        errors: bits to the output error measured on calibration images with this unit alone quantized; >= 0.
        steps: indices of the operators during which it is in memory; None for all of them, as weights are.
        overhead_bytes: beside the codes: scales, names in a file.
    """

    name: str
    elements: int
    errors: Mapping[int, float]
    steps: Optional[Tuple[int, ...]] = None
    overhead_bytes: int = 0

    def bytes_at(self, bits: int) -> int:
        """Whole bytes of its packed codes, and its overhead."""
        return (self.elements * bits + 7) // 8 + self.overhead_bytes


@dataclass(frozen=True)
class BitPlan:
    """Widths that fit.

    Attributes:
        bits: unit's name to bits.
        error: sum of the measured errors.
        memory_bytes: weights and the largest working set together.
        bound: no plan that fits has a smaller error; `error - bound` is what searching on could gain at most.
    """

    bits: Mapping[str, int]
    error: float
    memory_bytes: int
    bound: float


@dataclass(frozen=True)
class _Problem:
    """The units as arrays: errors and bytes [units, widths], alive bool [steps, units], widths ascending."""

    errors: np.ndarray
    bytes: np.ndarray
    alive: np.ndarray
    limit: int

    def memory(self, plan: np.ndarray) -> np.ndarray:
        """Bytes at each step, int64 [steps], with unit u at width number plan[u]."""
        return self.alive @ self.bytes[np.arange(len(plan)), plan]

    def error(self, plan: np.ndarray) -> float:
        return float(self.errors[np.arange(len(plan)), plan].sum())

    def fits(self, plan: np.ndarray) -> bool:
        return bool((self.memory(plan) <= self.limit).all())


def plan_bits(units: Sequence[Unit], limit_bytes: int, widths: Sequence[int] = BIT_WIDTHS) -> BitPlan:
    """The plan with the least error found: never above the limit, never worse than one width for all that fits.

    With one step (weights alone, or activations that are all alive together) the error is within one unit's
    gain of the optimum; otherwise `BitPlan.bound` says how near it is.

    Args:
        units: at least one; each with an error for every width.
        limit_bytes: for weights and the largest working set together.
        widths: bits to choose from.

    Raises:
        QuantizationError: no units, an error is missing, negative or not finite, or nothing fits; the message says
            how much the smallest plan takes.
    """
    widths = sorted(set(widths))
    problem = _problem(units, limit_bytes, widths)
    smallest = int(problem.memory(problem.bytes.argmin(axis=1)).max())
    if smallest > limit_bytes:
        raise QuantizationError(
            f"{limit_bytes:,} bytes do not hold the edge half: with {widths[0]} bits everywhere it takes "
            f"{smallest:,}; raise --edge-memory or cut earlier"
        )
    best, bound = _search(problem)
    return BitPlan(
        {unit.name: widths[choice] for unit, choice in zip(units, best)},
        problem.error(best),
        int(problem.memory(best).max()),
        bound,
    )


def _problem(units: Sequence[Unit], limit_bytes: int, widths: Sequence[int]) -> _Problem:
    if not units or len({unit.name for unit in units}) < len(units):
        raise QuantizationError(f"{len(units)} units with different names are not a network to plan bits for")
    for unit in units:
        measured = [unit.errors.get(bits, float("nan")) for bits in widths]
        if not np.isfinite(measured).all() or min(measured) < 0:
            raise QuantizationError(
                f"{unit.name}: errors {dict(unit.errors)} must be finite and not negative for each of {list(widths)} "
                "bits; measure them on calibration images"
            )
    steps = 1 + max((step for unit in units for step in unit.steps or ()), default=0)
    alive = np.array([[unit.steps is None or step in unit.steps for unit in units] for step in range(steps)], np.int64)
    errors = np.array([[float(unit.errors[bits]) for bits in widths] for unit in units])
    sizes = np.array([[unit.bytes_at(bits) for bits in widths] for unit in units], np.int64)
    return _Problem(errors, sizes, alive, limit_bytes)


def _search(problem: _Problem) -> Tuple[np.ndarray, float]:
    """The best of: each width for all, raised where there is room; the smallest plan raised; each price's choice."""
    count, widths = problem.errors.shape
    even = np.ones(len(problem.alive)) / len(problem.alive)
    starts = [np.full(count, width) for width in range(widths)]
    candidates = [_raised(problem, start, even) for start in starts if problem.fits(start)]
    best = min(candidates, key=problem.error)
    bound = 0.0
    for plan, prices, below in _priced(problem, problem.error(best)):
        bound = max(bound, below)
        candidate = _raised(problem, _lowered(problem, plan), prices if prices.any() else even)
        if problem.error(candidate) < problem.error(best):
            best = candidate
    return best, min(bound, problem.error(best))


def _priced(problem: _Problem, known_error: float) -> Iterator[Tuple[np.ndarray, np.ndarray, float]]:
    """Plans chosen under prices, the prices [steps], and the bound each gives: subgradient ascent, Polyak's step.

    A step over the limit becomes dearer, one with room cheaper, until the bound stops growing.
    """
    prices, reach, best_bound, since = np.zeros(len(problem.alive)), 1.0, -np.inf, 0
    scale = float(problem.limit) or 1.0  # memory in limits, so that prices are errors
    rows = np.arange(len(problem.errors))
    for _ in range(PRICE_STEPS):
        cost = problem.errors + (prices @ problem.alive)[:, None] * problem.bytes / scale
        plan = cost.argmin(axis=1)
        excess = (problem.memory(plan) - problem.limit) / scale
        below = float(cost[rows, plan].sum() - prices.sum() * problem.limit / scale)
        yield plan, prices, below
        if not (excess > 0).any() and not (prices * np.abs(excess)).any():
            return  # fits, and nothing is paid for room that is not used: optimal
        since = 0 if below > best_bound else since + 1
        best_bound = max(best_bound, below)
        if since >= 5:
            reach, since = reach / 2, 0
        step = reach * max(known_error - below, 1e-12 * max(known_error, 1e-300)) / float(np.square(excess).sum())
        prices = np.maximum(0, prices + step * excess)


def _lowered(problem: _Problem, plan: np.ndarray) -> np.ndarray:
    """`plan` with units made narrower, cheapest error per byte first, until every step fits."""
    plan = plan.copy()
    while True:
        over = problem.memory(plan) > problem.limit
        if not over.any():
            return plan
        saved, worse = _changes(problem, plan)
        helps = np.where(problem.alive[over].any(axis=0)[:, None], saved, 0)
        rate = np.where(helps > 0, worse / np.maximum(helps, 1), np.inf)
        unit, width = np.unravel_index(int(rate.argmin()), rate.shape)
        plan[unit] = width


def _raised(problem: _Problem, plan: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """`plan` with units changed, largest gain per priced byte first, while something fits and helps.

    A unit goes to its best width at once, not to the next: that is the convex hull's edge, and with one step
    stopping at the first that does not fit would already be within that edge's gain of the optimum.
    """
    plan = plan.copy()
    weight = np.maximum(prices @ problem.alive, 1e-9 * prices.sum())  # a step without a price is not free of bytes
    memory = problem.memory(plan)
    while True:
        saved, worse = _changes(problem, plan)
        room = np.where(problem.alive > 0, (problem.limit - memory)[:, None], np.iinfo(np.int64).max).min(axis=0)
        helps = (worse < 0) & (-saved <= room[:, None])
        if not helps.any():
            return plan
        rate = np.where(helps, -worse / (weight[:, None] * np.maximum(-saved, 1e-6)), -np.inf)
        unit, width = np.unravel_index(int(rate.argmax()), rate.shape)
        memory = memory - problem.alive[:, unit] * saved[unit, width]
        plan[unit] = width


def _changes(problem: _Problem, plan: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Bytes saved and error added, [units, widths] each, if one unit went from its width to another."""
    rows = np.arange(len(plan))
    now_bytes, now_errors = problem.bytes[rows, plan], problem.errors[rows, plan]
    return now_bytes[:, None] - problem.bytes, problem.errors - now_errors[:, None]


def uniform_plans(units: Sequence[Unit], widths: Sequence[int] = BIT_WIDTHS) -> List[BitPlan]:
    """One width for all, for each width: what a plan has to beat. Raises QuantizationError as `plan_bits`."""
    widths = sorted(set(widths))
    problem = _problem(units, 0, widths)
    plans = []
    for choice, bits in enumerate(widths):
        plan = np.full(len(units), choice)
        error = problem.error(plan)
        plans.append(BitPlan({unit.name: bits for unit in units}, error, int(problem.memory(plan).max()), 0.0))
    return plans
