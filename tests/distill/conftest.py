"""The networks and photos of the prunings' tests: what was pruned is what learns here."""

from __future__ import annotations

from tests.prune.conftest import (  # noqa: F401  fixtures
    SIDE,
    darknet,
    darknet_pruner,
    difference,
    heads,
    photos,
    shapes,
    state,
    tiny,
    tiny_pruner,
)
