"""The runtimes by name, and the half that one of them is to run."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Dict, Optional

from ppsplit.bundle import Bundle, Cut
from ppsplit.errors import ConfigError, InferenceRuntimeError
from ppsplit.runtime import PLAIN, Runtime, load_program, native_target
from ppsplit.runtime.compute import Compute
from ppsplit.runtime.threads import check_threads


@dataclass(frozen=True)
class Kind:
    """A runtime.

    Attributes:
        reads: the programs of a bundle that it takes, as `ProgramFiles.runtime` names them.
        framework: the module that holds it.
        package: what to install.
    """

    reads: str
    framework: str
    package: str

    def ensure(self) -> None:
        """Import what holds it. Raises InferenceRuntimeError where it is not installed."""
        try:
            importlib.import_module(self.framework)
        except ImportError as error:
            raise InferenceRuntimeError(
                f"{self.framework} cannot be imported ({error}); install {self.package}, or use another --runtime"
            ) from error


WHOLE = ("paddle", "onnx", "openvino")
"""Those that can run the unsplit network, too, as the cloud does for a client that sends JPEG."""

RUNTIMES: Dict[str, Kind] = {
    "lite": Kind("lite", "paddlelite.lite", "paddlelite==2.13rc0"),
    "paddle": Kind("paddle", "ppsplit.paddle_first", "paddlepaddle==2.6.2"),
    "onnx": Kind("onnx", "onnxruntime", "onnxruntime"),
    "openvino": Kind("paddle", "openvino", "openvino"),
}


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
