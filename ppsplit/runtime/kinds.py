"""The table of runtimes: what each reads, what it needs, and how a bundle's program is loaded into it.

A runtime's own file is imported only when a program is loaded into it, so that one that is not installed costs nothing.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Dict, Optional

from ppsplit.bundle import Bundle, ProgramFiles
from ppsplit.bundle.precision import computes_in_integers
from ppsplit.errors import InferenceRuntimeError
from ppsplit.runtime.compute import PLAIN, Compute

if TYPE_CHECKING:
    from ppsplit.runtime import Runtime

PACKED = "packed"  # the role of weights of a few bits each, in place of "params"


@dataclass(frozen=True)
class Running:
    """How a program is to be run.

    Attributes:
        threads: at least 1.
        power_mode: for Paddle Lite: which cores, of `threads.POWER_MODES`; None for its own choice.
        compute: bf16 and GPUs, for "paddle" alone.
    """

    threads: int = 1
    power_mode: Optional[str] = None
    compute: Compute = PLAIN


@dataclass(frozen=True)
class Kind:
    """A runtime.

    Attributes:
        reads: the programs of a bundle that it takes, as `ProgramFiles.runtime` names them.
        framework: the module that holds it.
        package: what to install.
        load: the program of a bundle, its files checked.
    """

    reads: str
    framework: str
    package: str
    load: Callable[[Bundle, ProgramFiles, Running], Runtime]

    def ensure(self) -> None:
        """Import what holds it. Raises InferenceRuntimeError where it is not installed."""
        try:
            importlib.import_module(self.framework)
        except ImportError as error:
            raise InferenceRuntimeError(
                f"{self.framework} cannot be imported ({error}); install {self.package}, or use another --runtime"
            ) from error

    def is_installed(self) -> bool:
        """Whether what holds it can be imported."""
        try:
            self.ensure()
        except InferenceRuntimeError:
            return False
        return True


def _lite(bundle: Bundle, program: ProgramFiles, running: Running) -> Runtime:
    from ppsplit.runtime.lite import LiteRuntime
    from ppsplit.runtime.specs import specs_of

    weights = bundle.path(program.files[PACKED]) if PACKED in program.files else None
    nb = bundle.path(program.files["packed_nb" if weights else "nb"])
    return LiteRuntime(nb, running.threads, running.power_mode, specs_of(bundle), weights)


def _paddle(bundle: Bundle, program: ProgramFiles, running: Running) -> Runtime:
    from ppsplit.runtime.paddle import PaddleRuntime

    packed = PACKED in program.files
    model, params = (bundle.path(program.files[role]) for role in ("model", PACKED if packed else "params"))
    in_integers = computes_in_integers(program.precision)
    return PaddleRuntime(model, params, running.threads, packed, in_integers, running.compute)


def _onnx(bundle: Bundle, program: ProgramFiles, running: Running) -> Runtime:
    from ppsplit.runtime.onnx import OnnxRuntime

    return OnnxRuntime(bundle.path(program.files["onnx"]), running.threads)


def _openvino(bundle: Bundle, program: ProgramFiles, running: Running) -> Runtime:
    from ppsplit.runtime.openvino import OpenVinoRuntime

    if PACKED in program.files:
        raise InferenceRuntimeError("OpenVINO takes no packed weights; choose another --precision or --runtime")
    bundle.path(program.files["params"])  # it finds them itself, by their name
    return OpenVinoRuntime(bundle.path(program.files["model"]), running.threads)


RUNTIMES: Dict[str, Kind] = {
    "lite": Kind("lite", "paddlelite.lite", "paddlelite==2.13rc0", _lite),
    "paddle": Kind("paddle", "ppsplit.paddle_first", "paddlepaddle==2.6.2", _paddle),
    "onnx": Kind("onnx", "onnxruntime", "onnxruntime", _onnx),
    "openvino": Kind("paddle", "openvino", "openvino", _openvino),
}
