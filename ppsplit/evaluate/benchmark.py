"""Every runtime that is installed on every half of a bundle, and on the whole: time, memory, bytes, error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np

from ppsplit.bundle import FULL, HEAD, TAIL, Bundle, Cut, ProgramFiles
from ppsplit.errors import PPSplitError
from ppsplit.evaluate.latency import interleaved_calls
from ppsplit.export.certify import TOLERANCES, compare
from ppsplit.export.requantize import disk_bytes
from ppsplit.runtime import Runtime, Tensors, load_program, run_part, runs_here
from ppsplit.runtime.choice import RUNTIMES, load_part
from ppsplit.runtime.trial import try_part

MIB = 2**20
OK = "ok"
Progress = Callable[[str, int, int], None]
Row = Dict[str, Any]


@dataclass(frozen=True)
class Half:
    """A head, a tail or, with part "full", the whole network."""

    bundle: Bundle
    cut: Cut
    part: str

    @property
    def cut_name(self) -> str:
        """Of the cut; "" for the whole."""
        return "" if self.part == FULL else self.cut.name

    def candidates(self) -> List[Tuple[str, ProgramFiles]]:
        """Each runtime's name with a program of the bundle that it reads and this machine can run."""
        held = self.bundle.manifest.full if self.part == FULL else self.cut.programs
        mine = [program for program in held if program.part == self.part and runs_here(program)]
        return [(name, program) for name, kind in RUNTIMES.items() for program in mine if program.runtime == kind.reads]

    def computes(self) -> bool:
        """Whether there is something to run."""
        return any(name == "paddle" for name, _ in self.candidates())


def benchmark_rows(
    bundle: Bundle,
    cuts: Sequence[str],
    images: Sequence[np.ndarray],
    runs: int,
    threads: int,
    progress: Progress,
) -> List[Row]:
    """Measure the whole network first, then both halves of each cut, in every runtime and precision.

    Args:
        cuts: their names; empty for all.
        images: network inputs, float32 [1, 3, H, W] each, for the errors; the first for the milliseconds, too.
        runs: how often each program is timed: those of a half take turns, in another order each time.
        threads: of each runtime.
        progress: called with what begins, its number and how many there are.

    Returns:
        rows: cut ("" for the whole), part, runtime, precision, status ("ok", or why there are no figures, or how far
        off it is), bytes (of the files that are loaded), ms_median, ms_p95, peak_mib and framework_mib (the most
        memory of a process that loads and runs this and nothing else, and before it did, its runtime imported),
        max_error and max_relative_error (largest difference from fp32 in Paddle Inference on the same inputs, and
        the same over the largest value of that output).

    Raises:
        BundleError: no such cut.
        InferenceRuntimeError: Paddle, which the others are compared with, is not installed or fails.
    """
    chosen = [bundle.cut(name) for name in cuts] or list(bundle.manifest.cuts)
    halves = [Half(bundle, chosen[0], FULL), *(Half(bundle, cut, part) for cut in chosen for part in (HEAD, TAIL))]
    total = sum(len(half.candidates()) + 1 for half in halves)
    rows: List[Row] = []
    started = 0
    for half in halves:
        rows += _half_rows(half, images, runs, threads, lambda what, i: progress(what, i, total), started)
        started += len(half.candidates()) + 1
    return rows


def _half_rows(
    half: Half,
    images: Sequence[np.ndarray],
    runs: int,
    threads: int,
    progress: Callable[[str, int], None],
    started: int,
) -> List[Row]:
    named = {"cut": half.cut_name, "part": half.part}
    if not half.computes():
        return [{**named, "runtime": "passthrough", "status": "nothing to compute"}]
    feeds = _feeds(half, images)
    reference = load_part(half.bundle, half.cut, half.part, "paddle", "fp32")
    expected = [run_part(reference, each, reference.output_names) for each in feeds]
    rows: List[Row] = []
    loaded: Dict[int, Runtime] = {}
    for name, program in half.candidates():
        started += 1
        progress(f"{half.cut_name} {half.part} {name}/{program.precision}".strip(), started)
        row: Row = {**named, "runtime": name, "precision": program.precision, "status": OK}
        row["bytes"] = disk_bytes(half.bundle, program)
        try:
            row.update(memory_of(half, name, program.precision, threads))
            runtime = load_program(half.bundle, program, threads, runtime=name)
            row.update(_errors(runtime, feeds, expected, program.precision))
            loaded[len(rows)] = runtime
        except PPSplitError as error:
            row["status"] = " ".join(str(error).split())
        rows.append(row)
    progress(f"{half.cut_name} {half.part} milliseconds".strip(), started + 1)
    calls = {index: _call(runtime) for index, runtime in loaded.items()}
    for index, times_ms in interleaved_calls(calls, feeds[:1], runs).items():
        rows[index]["ms_median"] = round(float(np.median(times_ms)), 3)
        rows[index]["ms_p95"] = round(float(np.percentile(times_ms, 95)), 3)
    absent = [name for name in RUNTIMES if name not in {row["runtime"] for row in rows}]
    return rows + [{**named, "runtime": name, "status": "not in the bundle"} for name in absent]


def _feeds(half: Half, images: Sequence[np.ndarray]) -> List[Tensors]:
    """What the half may read for each image: the network's input, and for a tail what Paddle's fp32 head makes."""
    name = half.bundle.manifest.input.name
    if half.part != TAIL:
        return [{name: image} for image in images]
    head = load_part(half.bundle, half.cut, HEAD, "paddle", "fp32")
    return [run_part(head, {name: image}, [spec.name for spec in half.cut.tensors]) for image in images]


def _call(runtime: Runtime) -> Callable[[Tensors], Tensors]:
    return lambda feeds: runtime.run({name: feeds[name] for name in runtime.input_names})


def _errors(runtime: Runtime, feeds: Sequence[Tensors], expected: Sequence[Tensors], precision: str) -> Row:
    """The figures, and the status where they are more than export would let pass. Raises CertificationError."""
    call = _call(runtime)
    found = [compare(call(each), whole, "this runtime against Paddle's fp32") for each, whole in zip(feeds, expected)]
    absolute, relative = (max(pair[i] for pair in found) for i in (0, 1))
    tolerance = TOLERANCES[precision]
    status = OK if tolerance is None or relative <= tolerance else f"off: more than {tolerance:.0e} relative"
    return {"status": status, "max_error": absolute, "max_relative_error": relative}


def memory_of(half: Half, runtime: str, precision: str, threads: int) -> Row:
    """Of a process of its own, see `runtime.trial`. Raises BundleError, InferenceRuntimeError."""
    trial = try_part(half.bundle, half.cut, half.part, runtime, precision, threads)
    return {
        "peak_mib": round(trial.peak_bytes / MIB, 1),
        "framework_mib": round(trial.framework_bytes / MIB, 1),
    }
