"""What the cloud half found."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import Dict, Iterator, List, Optional

from ppsplit.classification import Classification
from ppsplit.detections import Detections
from ppsplit.runtime import Tensors


@dataclass
class Result:
    """What came out.

    Attributes:
        cut: where the network was divided, None for a whole picture.
        times_ms: decode_features (or the picture's decoding), queue, tail (or the whole network; of the whole batch
            where requests ran together), decode.
        detections: one for each image of the batch, boxes in input pixels; None where the family is "raw" or
            "classify".
        outputs: the network's raw outputs where the family is "raw", else None.
        classifications: one for each image of the batch where the family is "classify", else None.
    """

    cut: Optional[str]
    times_ms: Dict[str, float] = field(default_factory=dict)
    detections: Optional[List[Detections]] = None
    outputs: Optional[Tensors] = None
    classifications: Optional[List[Classification]] = None

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add what happens inside to `times_ms`."""
        start = time.perf_counter()
        yield
        self.times_ms[stage] = round((time.perf_counter() - start) * 1000, 3)
