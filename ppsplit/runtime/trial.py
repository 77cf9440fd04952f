"""One half in a process that loads and runs nothing else: what it takes of memory and time.

What ends a process, as a program that a runtime does not bear, ends that one and not the one that asks.
`python -m ppsplit.runtime.trial BUNDLE CUT PART RUNTIME PRECISION --threads 1` is that process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Dict, Optional, Tuple

import numpy as np

from ppsplit.bundle import Bundle, Cut
from ppsplit.errors import BundleError, InferenceRuntimeError
from ppsplit.runtime.choice import RUNTIMES, load_part
from ppsplit.runtime.memory import peak_rss_bytes
from ppsplit.runtime.specs import specs_of

WARM_UP, RUNS = 2, 5
TIMEOUT_S = 600


@dataclass(frozen=True)
class Trial:
    """What was seen.

    Attributes:
        ms_median: of a run on noise, batch of one.
        peak_bytes: most memory of the process.
        framework_bytes: the same before the half was loaded, its runtime imported.
    """

    ms_median: float
    peak_bytes: int
    framework_bytes: int


def try_part(
    bundle: Bundle, cut: Cut, part: str, runtime: str, precision: Optional[str] = None, threads: int = 1
) -> Trial:
    """Load and run a half apart.

    Args:
        part: "head", "tail" or "full".
        precision: None for the bundle's own default.

    Raises:
        BundleError: the bundle does not hold it.
        InferenceRuntimeError: the runtime is not installed, or it failed; its last words are in the message.
    """
    RUNTIMES[runtime].ensure()
    words = [str(bundle.root), cut.name, part, runtime, precision or "", "--threads", str(threads)]
    command = [sys.executable, "-m", "ppsplit.runtime.trial", *words]
    try:
        child = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise InferenceRuntimeError(f"not done after {TIMEOUT_S} s") from error
    lines = child.stdout.strip().splitlines()
    if child.returncode != 0 or not lines:
        said = [line for line in child.stderr.strip().splitlines() if line.strip()]
        raise InferenceRuntimeError(f"failed: {said[-1] if said else f'ended with {child.returncode}'}"[:300])
    return Trial(**json.loads(lines[-1]))


def fastest(
    bundle: Bundle, cut: Cut, part: str, precision: Optional[str] = None, threads: int = 1
) -> Tuple[str, Dict[str, float]]:
    """The runtime that runs a half in the least time here, of those that are installed and that the bundle is for.

    Returns:
        its name, and the median milliseconds of every one that was tried.

    Raises:
        InferenceRuntimeError: none of them runs it; the message says why for each.
    """
    times_ms, reasons = {}, []
    for name in RUNTIMES:
        try:
            times_ms[name] = try_part(bundle, cut, part, name, precision, threads).ms_median
        except (BundleError, InferenceRuntimeError) as error:
            reasons.append(f"{name}: {error}")
    if not times_ms:
        raise InferenceRuntimeError(f"no runtime here runs the {part} of {cut.name!r}; {'; '.join(reasons)}")
    return min(times_ms, key=lambda name: times_ms[name]), times_ms


def run_here(
    bundle: Bundle, cut: Cut, part: str, runtime: str, precision: Optional[str] = None, threads: int = 1
) -> Trial:
    """The same in this process. Raises BundleError, InferenceRuntimeError."""
    RUNTIMES[runtime].ensure()
    specs, generator = specs_of(bundle), np.random.default_rng(0)
    before = peak_rss_bytes()
    half = load_part(bundle, cut, part, runtime, precision, threads=threads)
    shapes = {name: [max(size, 1) for size in specs[name].shape] for name in half.input_names}
    feeds = {name: generator.random(shape).astype(specs[name].dtype) for name, shape in shapes.items()}
    times_ms = []
    for _ in range(WARM_UP + RUNS):
        start = time.perf_counter()
        half.run(feeds)
        times_ms.append((time.perf_counter() - start) * 1000)
    return Trial(round(statistics.median(times_ms[WARM_UP:]), 3), peak_rss_bytes(), before)


def main() -> None:
    """Load, run on noise, print one line of JSON."""
    parser = argparse.ArgumentParser(description="Run one half and print its memory and time as JSON.")
    parser.add_argument("bundle", type=Path)
    for name in ("cut", "part", "runtime", "precision"):
        parser.add_argument(name)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    bundle = Bundle.open(given.bundle)
    trial = run_here(bundle, bundle.cut(given.cut), given.part, given.runtime, given.precision or None, given.threads)
    print(json.dumps(asdict(trial)))


if __name__ == "__main__":
    main()
