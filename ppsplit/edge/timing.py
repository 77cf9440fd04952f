"""Milliseconds where they pass."""

from __future__ import annotations

import contextlib
import time
from typing import Dict, Iterator, Optional

STAGES = ("preprocess", "head", "encode", "network", "decode_features", "queue", "tail", "decode")
SERVER_STAGES = ("decode_features", "queue", "tail", "decode")


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

    def copy(self) -> StageTimes:
        """The same, to be counted on separately."""
        other = StageTimes()
        other._ms = dict(self._ms)
        return other


class DurationEstimate:
    """What a repeated piece of work will take, by what it took: mean and mean deviation (RFC 6298, section 2)."""

    def __init__(self) -> None:
        self._mean_ms: Optional[float] = None
        self._deviation_ms = 0.0

    def observe(self, duration_ms: float) -> None:
        """It took so long."""
        if self._mean_ms is None:
            self._mean_ms, self._deviation_ms = duration_ms, duration_ms / 2
            return
        self._deviation_ms += (abs(duration_ms - self._mean_ms) - self._deviation_ms) / 4
        self._mean_ms += (duration_ms - self._mean_ms) / 8

    @property
    def mean_ms(self) -> float:
        """What it usually takes; 0 before the first time."""
        return self._mean_ms or 0.0

    @property
    def bound_ms(self) -> float:
        """What it hardly ever takes longer than."""
        return self.mean_ms + 4 * self._deviation_ms
