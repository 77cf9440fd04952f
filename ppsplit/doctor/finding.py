"""One thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

FINE, CAVEAT, FATAL = "fine", "caveat", "will not convert"
EXIT_CODES = {FINE: 0, CAVEAT: 2, FATAL: 1}


@dataclass(frozen=True)
class Finding:
    """One row of the doctor's table.

    Attributes:
        check: what was looked at.
        state: FINE, CAVEAT or FATAL.
        found: what is there.
        cure: what to do about it, "" where nothing is.
    """

    check: str
    state: str
    found: str
    cure: str = ""


def exit_code(findings: Sequence[Finding]) -> int:
    """1 where one is fatal, else 2 where one is a caveat, else 0."""
    states = {finding.state for finding in findings}
    return next((EXIT_CODES[state] for state in (FATAL, CAVEAT) if state in states), EXIT_CODES[FINE])
