"""Milliseconds of several heads side by side, so that what else the machine does falls on all of them."""

from __future__ import annotations

import time
from typing import Callable, Dict, Hashable, List, Mapping, Sequence, Tuple, TypeVar

import numpy as np

from ppsplit.bundle import Bundle
from ppsplit.edge.head import Head

WARM_UP = 3  # runs of each, not counted

Key = Tuple[str, str]  # a bundle's name here, and the runtime
Name = TypeVar("Name", bound=Hashable)
Input = TypeVar("Input")


def head_times(
    bundles: Mapping[str, Bundle], runtimes: Sequence[str], inputs: Sequence[np.ndarray], rounds: int, threads: int = 1
) -> Dict[Key, np.ndarray]:
    """Run the fp32 heads of all bundles' first cuts on the same inputs, in turn and in another order each time.

    Args:
        bundles: name to bundle.
        runtimes: of the heads, "paddle" or "lite"; every bundle must have both.
        inputs: float32 [1, 3, H, W] each.
        rounds: how often each input goes through each head.

    Returns:
        (name, runtime) to milliseconds [rounds * inputs]; the same place is the same moment for all.

    Raises:
        BundleError, InferenceRuntimeError: a bundle lacks a head, or a runtime is not installed.
    """
    heads = {
        (name, runtime): Head(bundle, bundle.cut(), runtime, "fp32", threads=threads)
        for name, bundle in bundles.items()
        for runtime in runtimes
    }
    return interleaved_times(heads, inputs, rounds)


def interleaved_times(heads: Mapping[Name, Head], inputs: Sequence[np.ndarray], rounds: int) -> Dict[Name, np.ndarray]:
    """Milliseconds [rounds * inputs] of each head, run on the same inputs in turn and in another order each time."""
    return interleaved_calls({name: head.run for name, head in heads.items()}, [[tensor] for tensor in inputs], rounds)


def interleaved_calls(
    calls: Mapping[Name, Callable[[Input], object]], inputs: Sequence[Input], rounds: int
) -> Dict[Name, np.ndarray]:
    """The same of any functions: each is called with each of the inputs, after a warm-up."""
    for call in calls.values():
        for _ in range(WARM_UP):
            call(inputs[0])
    generator, names = np.random.default_rng(0), list(calls)
    times_ms: Dict[Name, List[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for given in inputs:
            for index in generator.permutation(len(names)):
                began = time.perf_counter()
                calls[names[index]](given)
                times_ms[names[index]].append((time.perf_counter() - began) * 1000)
    return {name: np.array(values) for name, values in times_ms.items()}


def median_ratio(times_ms: np.ndarray, reference_ms: np.ndarray) -> float:
    """The median of the ratios taken moment by moment, which a machine that slows down does not move."""
    return float(np.median(times_ms / reference_ms))
