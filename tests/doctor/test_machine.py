"""What the doctor says of the machine, for machines that are not this one."""

from __future__ import annotations

import platform
from typing import Any

import pytest

from ppsplit.doctor import FATAL, FINE, machine
from ppsplit.doctor.machine import architecture_finding, features, machine_findings, processor_finding, wheel_finding
from ppsplit.errors import InferenceRuntimeError

X86 = "processor\t: 0\nmodel name\t: some\nflags\t\t: fpu sse2 avx2 {}\n\nprocessor\t: 1\nflags\t\t: fpu\n"
ARM = "processor\t: 0\nBogoMIPS\t: 48.00\nFeatures\t: fp asimd {}\nCPU implementer\t: 0x41\n"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [("", set()), (X86.format("avx_vnni"), {"fpu", "sse2", "avx2", "avx_vnni"}), (ARM.format(""), {"fp", "asimd"})],
)
def test_features(cpuinfo: str, expected: Any) -> None:
    assert features(cpuinfo) == expected


@pytest.mark.parametrize(
    ("architecture", "cpuinfo", "said"),
    [
        ("x86_64", X86.format(""), "this x86 has no dot-product instructions"),
        ("x86_64", X86.format("avx512_vnni amx_int8"), "this x86 has avx512_vnni, amx_int8"),
        ("x86_64", X86.format("avx_vnni"), "this x86 has avx_vnni"),
        ("aarch64", ARM.format("asimddp"), "this arm has asimddp"),
        ("aarch64", ARM.format(""), "this arm has no dot-product instructions"),
        ("riscv64", "", "this riscv64 has no dot-product instructions"),
        ("arm64", None, "unknown"),
    ],
)
def test_the_processor(architecture: str, cpuinfo: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: architecture)
    finding = processor_finding("arm", cpuinfo)
    assert said in finding.found and finding.state == FINE
    assert ("the target is arm" in finding.found) == (cpuinfo is not None and "arm" not in said.split(" has")[0])


def test_another_architecture_converts_and_is_not_certified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert "cannot be certified" in architecture_finding("arm").found
    assert "cannot" not in architecture_finding("x86").found


def test_without_the_wheel_nothing_converts(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(target: str) -> None:
        raise InferenceRuntimeError("Paddle Lite's optimizer does not run here")

    monkeypatch.setattr(machine, "lite_ops", fail)
    finding = wheel_finding("arm")
    assert finding.state == FATAL and "Python 3.8 to 3.10" in finding.cure


def test_this_machine() -> None:
    assert [finding.state for finding in machine_findings("arm")] == [FINE] * 3
