"""What somebody who mistyped a name may have meant."""

from __future__ import annotations

import difflib
from typing import Iterable

MOST_LISTED = 24


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?` where something known is close to `name`, else what there is if it is not too much."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known: {', '.join(known)}" if len(known) <= MOST_LISTED else ""
