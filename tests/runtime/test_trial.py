"""A half in a process of its own, and the runtime that is the fastest for it."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Optional

import pytest

from ppsplit.bundle import FULL, HEAD, Bundle, Cut
from ppsplit.errors import InferenceRuntimeError
from ppsplit.runtime import trial
from ppsplit.runtime.trial import Trial, fastest, run_here, try_part


def test_a_process_of_its_own_takes_what_it_takes(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    seen = try_part(bundle, bundle.cut(), HEAD, "lite")
    assert 0 < seen.ms_median < 1000
    assert 20e6 < seen.framework_bytes < seen.peak_bytes < 500e6


def test_this_process_has_more_in_it(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    assert (
        run_here(bundle, bundle.cut(), FULL, "paddle").peak_bytes
        > try_part(bundle, bundle.cut(), HEAD, "lite").peak_bytes
    )


def test_what_the_bundle_has_not_is_said(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    with pytest.raises(InferenceRuntimeError, match="onnx"):
        try_part(bundle, bundle.cut(), HEAD, "onnx")


def test_those_that_run_it_are_compared(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    name, times_ms = fastest(bundle, bundle.cut(), HEAD)
    assert {"lite", "paddle"} <= set(times_ms) and "onnx" not in times_ms  # the bundle has no ONNX files
    assert times_ms[name] == min(times_ms.values())


@pytest.mark.parametrize("times, expected", [({"lite": 3.0, "paddle": 2.0}, "paddle"), ({"openvino": 9.0}, "openvino")])
def test_the_least_time_wins(
    times: Dict[str, float], expected: str, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tried(bundle: Bundle, cut: Cut, part: str, name: str, precision: Optional[str], threads: int) -> Trial:
        if name not in times:
            raise InferenceRuntimeError("not installed")
        return Trial(times[name], 2, 1)

    monkeypatch.setattr(trial, "try_part", tried)
    bundle = Bundle.open(tiny_bundle)
    assert fastest(bundle, bundle.cut(), HEAD) == (expected, times)
    times.clear()
    with pytest.raises(InferenceRuntimeError, match="no runtime here runs the head of .*lite: not installed; paddle: "):
        fastest(bundle, bundle.cut(), HEAD)
