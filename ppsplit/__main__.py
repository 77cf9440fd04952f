"""`python -m ppsplit VERB` is `ppsplit VERB`."""

from __future__ import annotations

import sys

from ppsplit.cli import main

if __name__ == "__main__":
    sys.exit(main())
