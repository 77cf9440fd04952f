"""The learning rate as a function of the step, so that nothing of it has to be saved."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Tuple

DROP = 0.1


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up from nothing, then steps down or a cosine to `floor` of the peak.

    Attributes:
        peak: the learning rate after warm-up.
        steps: of the whole training.
        warmup: steps of the warm-up.
        decay: "cosine", or "step": times 0.1 at each of `milestones`.
        milestones: shares of all steps.
        floor: where the cosine ends, as a share of the peak.
    """

    peak: float
    steps: int
    warmup: int = 0
    decay: str = "cosine"
    milestones: Tuple[float, ...] = (0.8, 0.9)
    floor: float = 0.01

    def rate(self, step: int) -> float:
        """The learning rate of `step`, which counts from 0."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        if self.decay == "step":
            return self.peak * DROP ** sum(step >= milestone * self.steps for milestone in self.milestones)
        share = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.peak * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))
