"""A process that loads one head, runs it, and says how much memory that took: `python -m ppsplit.evaluate.quant_child`.

It prints one line of JSON at the end. With ONEDNN_VERBOSE=1 oneDNN prints each kernel that it executes before that.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from ppsplit.bundle import Bundle
from ppsplit.edge.head import Head
from ppsplit.runtime.choice import RUNTIMES
from ppsplit.runtime.memory import peak_rss_bytes


def main() -> None:
    """Load, run, print."""
    parser = argparse.ArgumentParser(description="Run one head and print its memory as JSON.")
    parser.add_argument("bundle", type=Path)
    for name in ("cut", "runtime", "precision"):
        parser.add_argument(name)
    parser.add_argument("--target", default=None)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    RUNTIMES[given.runtime].ensure()
    bundle = Bundle.open(given.bundle)
    size = [max(side, 1) for side in bundle.manifest.input.shape]
    image = np.random.default_rng(0).random(size, np.float32)
    before = peak_rss_bytes()
    head = Head(bundle, bundle.cut(given.cut), given.runtime, given.precision, given.target)
    loaded = peak_rss_bytes()
    for _ in range(given.runs):
        head.run([image])
    found = {"runs": given.runs, "framework_rss_bytes": before, "loaded_rss_bytes": loaded}
    print(json.dumps({**found, "peak_rss_bytes": peak_rss_bytes()}))


if __name__ == "__main__":
    main()
