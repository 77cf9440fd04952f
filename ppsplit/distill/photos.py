"""Some photos of a set, evenly spread over it."""

from __future__ import annotations

from typing import Any, List, Sequence

import numpy as np


def spread(items: Sequence[Any], count: int) -> List[Any]:
    """`count` of them, evenly spread; all where there are fewer."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))]
