"""Bytes, kernels, milliseconds and memory of each head of a cut."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Callable, Dict, List, Sequence

import numpy as np

from ppsplit.evaluate.latency import interleaved_times, median_ratio
from ppsplit.evaluate.quant_kernels import Executed, run_apart, verdict
from ppsplit.evaluate.quant_subjects import Subject, reference_of
from ppsplit.export.quantize import FAKE_QUANTIZED, QUANTIZED

MIB = 2**20
Progress = Callable[[str, int, int], None]


def cost_rows(
    subjects: Sequence[Subject], inputs: Sequence[np.ndarray], rounds: int, threads: int, progress: Progress
) -> List[Dict[str, Any]]:
    """Measure every head; "..._ratio" is to the fp32 head of the same runtime.

    Args:
        inputs: float32 [1, 3, H, W] each, for the milliseconds.
        rounds: how often each goes through each head, in turn and in another order each time.
        threads: of the heads, when they are timed.
        progress: called with a row's name, its number and how many there are.

    Returns:
        name, runtime, precision; bytes, of what the runtime loads; packed_bytes, of the integers beside it that are
        not loaded, where there are any; bytes_ratio, of the smaller of the two; matrix_work, int8_share and evidence
        (`quant_kernels.Executed`); says, the verdict in words; head_ms and head_ratio, medians; framework_mib, peak_mib
        and head_mib, their difference: what loading and running the head added.

    Raises:
        InferenceRuntimeError: a head failed.
    """
    rows = []
    for number, subject in enumerate(subjects, 1):
        progress(f"memory of {subject.name}", number, len(subjects) + 1)
        executed, memory = run_apart(subject)
        rows.append(
            {
                "name": subject.name,
                "runtime": subject.program.runtime,
                "precision": subject.program.precision,
                **_sizes(subject, reference_of(list(subjects), subject.program.runtime), executed),
                "framework_mib": round(memory.framework_bytes / MIB, 1),
                "peak_mib": round(memory.peak_bytes / MIB, 1),
                "head_mib": round((memory.peak_bytes - memory.framework_bytes) / MIB, 1),
            }
        )
    progress("milliseconds", len(subjects) + 1, len(subjects) + 1)
    times = _times(subjects, inputs, rounds, threads)
    return [{**row, **times[str(row["name"])]} for row in rows]


def _sizes(subject: Subject, reference: Subject, executed: Executed) -> Dict[str, Any]:
    loaded, whole = (sum(path.stat().st_size for path in each.files()) for each in (subject, reference))
    packed = packed_bytes(subject)
    smallest = min(loaded, packed) if packed else loaded
    return {
        "bytes": loaded,
        "packed_bytes": packed or None,
        "bytes_ratio": round(smallest / whole, 4),
        "matrix_work": executed.matrix_work,
        "other_kernels": executed.others,
        "int8_share": round(executed.int8_share, 4),
        "says": verdict(executed, loaded / whole),
        "evidence": executed.evidence,
    }


def packed_bytes(subject: Subject) -> int:
    """Bytes of the integers that lie beside a program which holds the same weights rounded as fp32; 0 without any."""
    bundle, total = subject.bundle, 0
    for name in subject.program.files.values():
        parts = PurePosixPath(name).parts
        if FAKE_QUANTIZED in parts:
            sibling = "/".join(QUANTIZED if part == FAKE_QUANTIZED else part for part in parts)
            if sibling in bundle.manifest.files:
                total += bundle.path(sibling).stat().st_size
    return total


def _times(
    subjects: Sequence[Subject], inputs: Sequence[np.ndarray], rounds: int, threads: int
) -> Dict[str, Dict[str, float]]:
    times = interleaved_times({subject.name: subject.load(threads) for subject in subjects}, inputs, rounds)
    found = {}
    for subject in subjects:
        own = times[subject.name]
        whole = times[reference_of(list(subjects), subject.program.runtime).name]
        ratio = round(median_ratio(own, whole), 4)
        found[subject.name] = {"head_ms": round(float(np.median(own)), 3), "head_ratio": ratio}
    return found
