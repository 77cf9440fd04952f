"""The edge's part of the network."""

from __future__ import annotations

from typing import Optional, Sequence

import numpy as np

from ppsplit.bundle import HEAD, Bundle, Cut
from ppsplit.runtime import Tensors, run_part
from ppsplit.runtime.choice import load_part

DEFAULT_RUNTIME = "lite"


class Head:
    """Network inputs to the features of one cut. The first thread that runs it is the only one that may."""

    def __init__(
        self,
        bundle: Bundle,
        cut: Cut,
        runtime: str = DEFAULT_RUNTIME,
        precision: Optional[str] = None,
        target: Optional[str] = None,
        threads: int = 1,
        power_mode: Optional[str] = None,
    ) -> None:
        self.bundle, self.cut = bundle, cut
        self._runtime = load_part(bundle, cut, HEAD, runtime, precision, target, threads, power_mode)

    def run(self, inputs: Sequence[np.ndarray]) -> Tensors:
        """Features of a batch.

        Args:
            inputs: float32 [1, 3, H, W] each, as `image.to_input` makes them.

        Returns:
            tensor name to array, in the order of `cut.tensors`; the batch is len(inputs).

        Raises:
            InferenceRuntimeError: the program does not take the input.
        """
        feeds = {self.bundle.manifest.input.name: np.concatenate(inputs)}
        return run_part(self._runtime, feeds, [spec.name for spec in self.cut.tensors])
