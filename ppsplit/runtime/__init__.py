"""Inference runtimes behind one small interface over numpy arrays. Each is imported only when asked for."""

from __future__ import annotations

import platform
from abc import ABC, abstractmethod
from typing import Dict, List, Mapping, Optional, Sequence

import numpy as np

from ppsplit.bundle import Bundle, ProgramFiles
from ppsplit.errors import ConfigError, InferenceRuntimeError
from ppsplit.runtime.compute import PLAIN, Compute
from ppsplit.runtime.kinds import RUNTIMES, Running

Tensors = Dict[str, np.ndarray]


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
        runtime: which to load it in, of `kinds.RUNTIMES`; None for the one it was made for.
        compute: bf16 and GPUs, for "paddle" alone.

    Raises:
        BundleError: a file is missing or damaged.
        ConfigError: there is no such power mode, or the runtime does not compute so.
        InferenceRuntimeError: the runtime is not installed or refuses the program.
    """
    runtime = runtime or program.runtime
    if program.runtime == "passthrough":
        return Passthrough()
    if runtime not in RUNTIMES:
        raise InferenceRuntimeError(f"unknown runtime {runtime!r}; known: {', '.join(RUNTIMES)}, passthrough")
    if compute != PLAIN and runtime != "paddle":
        raise ConfigError(f"only the runtime paddle has bf16 and GPUs, this is {runtime}; leave these options out")
    return RUNTIMES[runtime].load(bundle, program, Running(threads, power_mode, compute)).named(program.outputs)


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
