"""Inference runtimes behind one small interface over numpy arrays. Each is imported only when asked for."""

from __future__ import annotations

import platform
from abc import ABC, abstractmethod
from typing import Dict, List, Mapping, Optional, Sequence

import numpy as np

from ppsplit.bundle import Bundle, ProgramFiles
from ppsplit.bundle.precision import computes_in_integers
from ppsplit.errors import ConfigError, InferenceRuntimeError
from ppsplit.runtime.compute import Compute

Tensors = Dict[str, np.ndarray]
PLAIN = Compute()


class Runtime(ABC):
    """A loaded program. The first thread that runs it is the only one that may.

    Attributes:
        input_names, output_names: of the program, in its order.
    """

    input_names: List[str]
    output_names: List[str]

    @abstractmethod
    def run(self, feeds: Mapping[str, np.ndarray]) -> Tensors:
        """Compute all outputs from all inputs.

        Args:
            feeds: input name to array, with the program's dtype and shape (any batch).

        Returns:
            output name to array; the caller owns the arrays.

        Raises:
            InferenceRuntimeError: an input is missing or does not fit, or another thread ran the program before.
            MemoryError: there is not enough; the program can be run again.
        """

    def named(self, outputs: Sequence[str]) -> Runtime:
        """The same with its outputs called `outputs`, by position; () leaves the program's own names.

        Raises:
            InferenceRuntimeError: the program has another number of outputs.
        """
        if outputs and len(outputs) != len(self.output_names):
            raise InferenceRuntimeError(
                f"the program returns {self.output_names}, expected were {list(outputs)}; cut at another place"
            )
        self.output_names = list(outputs) or self.output_names
        return self


class Passthrough(Runtime):
    """A part with nothing to compute: it takes nothing and returns nothing."""

    def __init__(self) -> None:
        self.input_names, self.output_names = [], []

    def run(self, feeds: Mapping[str, np.ndarray]) -> Tensors:
        return {}


def run_part(runtime: Runtime, available: Mapping[str, np.ndarray], wanted: Sequence[str]) -> Tensors:
    """Run one half and return `wanted`, in that order.

    A tensor that crosses a half untouched (an output computed on the edge, the input itself in a skip
    connection) is not part of that half's program; it is taken from `available`.

    Raises:
        InferenceRuntimeError: `available` lacks an input, or the half does not make a wanted tensor.
    """
    missing = [name for name in runtime.input_names if name not in available]
    if missing:
        raise InferenceRuntimeError(f"the program also takes {missing}; it was given {sorted(available)}")
    merged = {**available, **runtime.run({name: available[name] for name in runtime.input_names})}
    absent = [name for name in wanted if name not in merged]
    if absent:
        raise InferenceRuntimeError(f"the program makes {runtime.output_names}, not {absent}")
    return {name: merged[name] for name in wanted}


def load_program(
    bundle: Bundle,
    program: ProgramFiles,
    threads: int = 1,
    power_mode: Optional[str] = None,
    runtime: Optional[str] = None,
    compute: Compute = PLAIN,
) -> Runtime:
    """Load one program of a bundle, after checking its files.

    Args:
        power_mode: for Paddle Lite: which cores it may use, of `threads.POWER_MODES`.
        runtime: which to load it in, of `choice.RUNTIMES`; None for the one it was made for.
        compute: bf16 and GPUs, for "paddle" alone.

    Raises:
        BundleError: a file is missing or damaged.
        ConfigError: there is no such power mode, or the runtime does not compute so.
        InferenceRuntimeError: the runtime is not installed or refuses the program.
    """
    runtime = runtime or program.runtime
    if program.runtime == "passthrough":
        return Passthrough()
    if compute != PLAIN and runtime != "paddle":
        raise ConfigError(f"only the runtime paddle has bf16 and GPUs, this is {runtime}; leave these options out")
    if runtime == "lite":
        from ppsplit.runtime.lite import LiteRuntime
        from ppsplit.runtime.specs import specs_of

        weights = bundle.path(program.files["packed"]) if "packed" in program.files else None
        nb = bundle.path(program.files["packed_nb" if weights else "nb"])
        loaded: Runtime = LiteRuntime(nb, threads, power_mode, specs_of(bundle), weights)
    elif runtime == "paddle":
        from ppsplit.runtime.paddle import PaddleRuntime

        packed = "packed" in program.files
        model, params = (bundle.path(program.files[role]) for role in ("model", "packed" if packed else "params"))
        loaded = PaddleRuntime(model, params, threads, packed, computes_in_integers(program.precision), compute)
    elif runtime == "onnx":
        from ppsplit.runtime.onnx import OnnxRuntime

        loaded = OnnxRuntime(bundle.path(program.files["onnx"]), threads)
    elif runtime == "openvino":
        from ppsplit.runtime.openvino import OpenVinoRuntime

        if "packed" in program.files:
            raise InferenceRuntimeError("OpenVINO takes no packed weights; choose another --precision or --runtime")
        bundle.path(program.files["params"])  # it finds them itself, by their name
        loaded = OpenVinoRuntime(bundle.path(program.files["model"]), threads)
    else:
        raise InferenceRuntimeError(f"unknown runtime {runtime!r}; known: lite, paddle, onnx, openvino, passthrough")
    return loaded.named(program.outputs)


def native_target() -> str:
    """Paddle Lite's name for this machine's CPU: "x86", "arm", or the machine's own name for another."""
    machine = platform.machine().lower()
    if machine.startswith(("arm", "aarch64")):
        return "arm"
    return "x86" if machine in ("x86_64", "amd64", "i686") else machine


def runs_here(program: ProgramFiles) -> bool:
    """Whether this machine's CPU can run a program made for that target."""
    return program.target in ("any", native_target())


def check_feeds(feeds: Mapping[str, np.ndarray], input_names: List[str]) -> None:
    """Raise InferenceRuntimeError unless `feeds` has exactly the names the program takes."""
    if set(feeds) != set(input_names):
        raise InferenceRuntimeError(f"the program takes {sorted(input_names)}, it was given {sorted(feeds)}")
