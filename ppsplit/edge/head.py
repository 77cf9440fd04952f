"""The edge's part of the network."""

from __future__ import annotations

from typing import Optional, Sequence

import numpy as np

from ppsplit.bundle import HEAD, Bundle, Cut
from ppsplit.errors import ConfigError
from ppsplit.runtime import Runtime, Tensors, load_program, native_target, run_part
from ppsplit.runtime.threads import check_threads

DEFAULT_RUNTIME = "lite"
RUNTIMES = ("lite", "paddle")


def load_part(
    bundle: Bundle,
    cut: Cut,
    part: str,
    runtime: str = DEFAULT_RUNTIME,
    precision: Optional[str] = None,
    target: Optional[str] = None,
    threads: int = 1,
    power_mode: Optional[str] = None,
) -> Runtime:
    """A program of the bundle, ready to run on this board.

    Args:
        precision: None for the bundle's own default.
        target: for lite only, None for this machine's.
        power_mode: for lite only: which cores, of `threads.POWER_MODES`; None for Paddle Lite's own choice.

    Raises:
        BundleError: the bundle does not hold it; the message lists what it does hold.
        ConfigError: threads below 1, or a power mode that is unknown or has no Paddle Lite to go with.
        InferenceRuntimeError: the runtime is not installed, or refuses the program.
    """
    check_threads(threads)
    if power_mode is not None and runtime != "lite":
        raise ConfigError(f"power modes are Paddle Lite's, the runtime is {runtime}; leave --power-mode out")
    wanted = (target or native_target()) if runtime == "lite" else None
    return load_program(bundle, bundle.program(cut, part, runtime, precision, wanted), threads, power_mode)


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
