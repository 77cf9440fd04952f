"""The programs of one bundle's cloud side, loaded as they are asked for. For one thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Mapping, Tuple

import numpy as np

from ppsplit.bundle import FULL, TAIL, Bundle, Cut
from ppsplit.errors import ConfigError
from ppsplit.runtime import PLAIN, Runtime, Tensors, run_part
from ppsplit.runtime.choice import RUNTIMES, WHOLE, load_part
from ppsplit.runtime.compute import BF16, Compute, check_bf16_here, cpu_flags
from ppsplit.runtime.threads import check_threads

RUNTIME = "paddle"  # unless told otherwise
# On a CPU a batch of 4 costs the least for each image; larger ones take longer, and oneDNN lays out the weights anew
# for each size of a batch and keeps them all.
DEFAULT_MAX_BATCH = 4
DEFAULT_MAX_WAIT_MS = 2.0


@dataclass(frozen=True)
class EngineOptions:
    """How a bundle is run.

    Attributes:
        threads: of each program's runtime.
        max_batch: the most images of a message, and of several that run together.
        max_wait_ms: how long a request may wait for company, see `batcher`.
        runtime: of each program, of `runtime.choice.WHOLE`.
        compute: precision and device.
        workers: how many threads run programs, each its own copy of them.

    Raises:
        ConfigError: threads below 1, an unknown runtime, or one that does not compute so.
    """

    threads: int = 1
    max_batch: int = DEFAULT_MAX_BATCH
    max_wait_ms: float = DEFAULT_MAX_WAIT_MS
    runtime: str = RUNTIME
    compute: Compute = PLAIN
    workers: int = 1

    def __post_init__(self) -> None:
        check_threads(self.threads)
        if self.workers < 1:
            raise ConfigError(f"workers is {self.workers}; expected at least 1")
        if self.runtime not in WHOLE:
            raise ConfigError(f"there is no runtime {self.runtime!r}; choose from {', '.join(WHOLE)}")
        if self.compute != PLAIN and self.runtime != RUNTIME:
            raise ConfigError(f"only --runtime paddle has bf16 and GPUs, not {self.runtime}")
        if self.compute.arithmetic == BF16:
            check_bf16_here(cpu_flags())


class Programs:
    """Tails and the whole network. One thread runs them: the first that does."""

    def __init__(self, bundle: Bundle, options: EngineOptions) -> None:
        self._bundle, self._options = bundle, options
        self._loaded: Dict[Tuple[str, str], Runtime] = {}
        self._outputs = [spec.name for spec in bundle.manifest.outputs]

    def run(self, part: str, cut_name: str, feeds: Mapping[str, np.ndarray]) -> Tensors:
        """The network's outputs. Raises BundleError, InferenceRuntimeError."""
        key = (part, cut_name if part == TAIL else "")
        if key not in self._loaded:
            options = self._options
            self._loaded[key] = load_part(
                self._bundle,
                self._bundle.cut(cut_name),
                part,
                options.runtime,
                threads=options.threads,
                compute=options.compute,
            )
        return run_part(self._loaded[key], feeds, self._outputs)


def check_held(bundle: Bundle, runtime: str) -> None:
    """Raise BundleError now, not at the first request, where the bundle has nothing for the runtime."""
    for cut in bundle.manifest.cuts:
        for part in (TAIL, FULL):
            bundle.program(cut, part, RUNTIMES[runtime].reads)


def is_open(bundle: Bundle, part: str, cut: Cut) -> bool:
    """Whether this part takes any number of images at once."""
    entering = cut.tensors if part == TAIL else (bundle.manifest.input,)
    return all(spec.shape[:1] == (-1,) for spec in (*entering, *bundle.manifest.outputs))
