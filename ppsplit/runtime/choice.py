"""The runtimes that a user chooses from, and the half that one of them is to run."""

from __future__ import annotations

from typing import Optional

from ppsplit.bundle import Bundle, Cut
from ppsplit.errors import ConfigError
from ppsplit.runtime import Runtime, load_program, native_target
from ppsplit.runtime.compute import PLAIN, Compute
from ppsplit.runtime.kinds import RUNTIMES
from ppsplit.runtime.threads import check_threads

__all__ = ["RUNTIMES", "WHOLE", "load_part"]


WHOLE = ("paddle", "onnx", "openvino")
"""Those that can run the unsplit network, too, as the cloud does for a client that sends JPEG."""


def load_part(
    bundle: Bundle,
    cut: Cut,
    part: str,
    runtime: str,
    precision: Optional[str] = None,
    target: Optional[str] = None,
    threads: int = 1,
    power_mode: Optional[str] = None,
    compute: Compute = PLAIN,
) -> Runtime:
    """A half of the bundle, or the whole, ready to run here.

    Args:
        part: "head", "tail" or "full".
        runtime: of `RUNTIMES`.
        precision: None for the bundle's own default.
        target: for lite only, None for this machine's.
        power_mode: for lite only: which cores, of `threads.POWER_MODES`; None for Paddle Lite's own choice.
        compute: bf16 and GPUs, for paddle only.

    Raises:
        BundleError: the bundle does not hold it; the message lists what it does hold.
        ConfigError: no such runtime, threads below 1, a power mode that is unknown or has no Paddle Lite, or a
            runtime that does not compute so.
        InferenceRuntimeError: the runtime is not installed, or refuses the program.
    """
    check_threads(threads)
    if runtime not in RUNTIMES:
        raise ConfigError(f"there is no runtime {runtime!r}; choose from {', '.join(RUNTIMES)}")
    if power_mode is not None and runtime != "lite":
        raise ConfigError(f"power modes are Paddle Lite's, the runtime is {runtime}; leave --power-mode out")
    wanted = (target or native_target()) if runtime == "lite" else None
    program = bundle.program(cut, part, RUNTIMES[runtime].reads, precision, wanted)
    return load_program(bundle, program, threads, power_mode, runtime, compute)
