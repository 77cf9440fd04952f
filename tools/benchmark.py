"""`python tools/benchmark.py` is `ppsplit benchmark`; from any folder."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # instead of tools/, whose inspect.py would hide the standard library's
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    from ppsplit.cli import main

    sys.exit(main(["benchmark", *sys.argv[1:]]))
