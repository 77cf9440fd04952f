"""A process that loads one half, runs it, and says how much memory that took, as one line of JSON.

`python -m ppsplit.evaluate.benchmark_child BUNDLE CUT PART RUNTIME PRECISION --threads 1`
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from ppsplit.bundle import Bundle
from ppsplit.edge.report import peak_rss_bytes
from ppsplit.runtime.choice import RUNTIMES, load_part
from ppsplit.runtime.specs import specs_of

RUNS = 3


def main() -> None:
    """Load, run on noise, print."""
    parser = argparse.ArgumentParser(description="Run one half and print its memory as JSON.")
    parser.add_argument("bundle", type=Path)
    for name in ("cut", "part", "runtime", "precision"):
        parser.add_argument(name)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    RUNTIMES[given.runtime].ensure()
    bundle = Bundle.open(given.bundle)
    specs, generator = specs_of(bundle), np.random.default_rng(0)
    before = peak_rss_bytes()
    half = load_part(bundle, bundle.cut(given.cut), given.part, given.runtime, given.precision, threads=given.threads)
    shapes = {name: [max(size, 1) for size in specs[name].shape] for name in half.input_names}
    feeds = {name: generator.random(shape).astype(specs[name].dtype) for name, shape in shapes.items()}
    for _ in range(RUNS):
        half.run(feeds)
    print(json.dumps({"framework_bytes": before, "peak_bytes": peak_rss_bytes()}))


if __name__ == "__main__":
    main()
