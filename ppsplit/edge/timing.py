"""Milliseconds where they pass."""

from __future__ import annotations

import contextlib
import time
from typing import Dict, Iterator

STAGES = ("preprocess", "head", "encode", "network", "decode_features", "tail", "decode")
SERVER_STAGES = ("decode_features", "tail", "decode")


class StageTimes:
    """Durations of one batch by stage; a stage that did not happen took 0 ms."""

    def __init__(self) -> None:
        self._ms: Dict[str, float] = dict.fromkeys(STAGES, 0.0)

    @contextlib.contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Count what happens inside towards `stage`."""
        start = time.perf_counter()
        yield
        self.add(stage, (time.perf_counter() - start) * 1000)

    def add(self, stage: str, duration_ms: float) -> None:
        """Count `duration_ms` towards `stage`."""
        self._ms[stage] += duration_ms

    def per_image(self, count: int) -> Dict[str, float]:
        """Each stage's share of one of `count` images, ms."""
        return {stage: round(total / count, 3) for stage, total in self._ms.items()}
