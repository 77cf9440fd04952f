"""Everything a quantization report says of one cut: its heads, its layers, and what follows from the figures."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

from ppsplit.bundle import Bundle
from ppsplit.data.coco import CocoSet
from ppsplit.evaluate.quant_accuracy import accuracy_rows
from ppsplit.evaluate.quant_blame import Blame, runtime_errors
from ppsplit.evaluate.quant_costs import cost_rows
from ppsplit.evaluate.quant_findings import findings
from ppsplit.evaluate.quant_programs import stages_of
from ppsplit.evaluate.quant_subjects import Subject, reference_of, subjects_of

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class QuantRequest:
    """What to measure.

    Attributes:
        inputs: calibration images as network inputs, float32 [1, 3, H, W]: layers' errors and milliseconds.
        labelled: the set for AP; None for no AP.
        blame_images: so many of the labelled images for the AP that each layer recovers; 0 for none.
        resamples: draws of the bootstrap.
        rounds: of the time measurement.
        threads: of the heads, when they are timed.
    """

    inputs: Sequence[np.ndarray]
    labelled: Optional[CocoSet] = None
    blame_images: int = 0
    resamples: int = 500
    rounds: int = 5
    threads: int = 1


def quant_report(bundle: Bundle, cut_name: str, request: QuantRequest, progress: Progress) -> Dict[str, Any]:
    """Measure one cut.

    Args:
        cut_name: "" for the bundle's first cut.
        progress: called with what is being measured, its number and how many there are.

    Returns:
        cut, edge_macs_share; heads: rows of `cost_rows`, with `runtime_errors` and `accuracy_rows` of the same head;
        layers: rows of `Blame` for every quantized head in Paddle; findings: sentences.

    Raises:
        BundleError: no such cut, nothing to quantize in it, or a file is damaged.
        DataError: the set does not fit the model.
        InferenceRuntimeError, ProgramError: a head does not run, or is not of this network.
    """
    subjects = subjects_of(bundle, cut_name)
    reference = reference_of(subjects)
    ordered = [reference, *(subject for subject in subjects if subject is not reference)]
    accuracy: List[Dict[str, Any]] = []
    if request.labelled is not None:  # first: a set that does not fit is told before anything takes long
        accuracy = accuracy_rows(ordered, request.labelled, request.resamples, progress)
    progress("errors in each runtime", 1, 1)
    errors = runtime_errors(ordered, request.inputs)
    costs = cost_rows(ordered, request.inputs, request.rounds, request.threads, progress)
    found = {row["name"]: row for row in accuracy}
    heads = [{**row, **errors[row["name"]], **found.get(row["name"], {})} for row in costs]
    layers = _layers(ordered, request, progress)
    return {
        "cut": reference.cut.name,
        "edge_macs_share": round(reference.cut.edge_macs_share, 4),
        "heads": heads,
        "layers": layers,
        "findings": findings(heads, layers),
    }


def _layers(subjects: Sequence[Subject], request: QuantRequest, progress: Progress) -> List[Dict[str, Any]]:
    quantized = [s for s in subjects if s.program.runtime == "paddle" and not s.is_reference]
    labelled = None
    if request.labelled is not None and request.blame_images:
        labelled = request.labelled.first(request.blame_images)
    blame = Blame(subjects[0], stages_of(subjects[0]), request.inputs, labelled)
    rows: List[Dict[str, Any]] = []
    for number, subject in enumerate(quantized, 1):
        rows += blame.rows(subject, functools.partial(_counted, progress, number, len(quantized)))
    return rows


def _counted(progress: Progress, number: int, total: int, step: str) -> None:
    progress(step, number, total)
