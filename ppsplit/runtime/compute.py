"""On what a runtime computes, and how exactly."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import FrozenSet

from ppsplit.errors import ConfigError

FP32, BF16 = "fp32", "bf16"
CPU, GPU = "cpu", "gpu"
BF16_FLAGS = ("amx_bf16", "avx512_bf16")
"""What Linux calls the instructions that multiply bfloat16; without them oneDNN imitates it, slower than fp32."""


@dataclass(frozen=True)
class Compute:
    """How a program is run, whatever program it is.

    Attributes:
        arithmetic: "fp32", or "bf16": convolutions take bfloat16 and sum in fp32, some 3 digits exact.
        device: "cpu" or "gpu".

    Raises:
        ConfigError: something else, or bf16 on a GPU.
    """

    arithmetic: str = FP32
    device: str = CPU

    def __post_init__(self) -> None:
        if self.arithmetic not in (FP32, BF16):
            raise ConfigError(f"arithmetic is {self.arithmetic!r}; choose fp32 or bf16")
        if self.device not in (CPU, GPU):
            raise ConfigError(f"device is {self.device!r}; choose cpu or gpu")
        if (self.arithmetic, self.device) == (BF16, GPU):
            raise ConfigError("bf16 is for CPUs here; use fp32 with --device gpu")


def check_bf16_here(flags: FrozenSet[str]) -> None:
    """Raise ConfigError where bfloat16 would be slower than fp32.

    Args:
        flags: of the processor, see `cpu_flags`.
    """
    if not flags.intersection(BF16_FLAGS):
        raise ConfigError(
            f"this processor has no bfloat16 ({' or '.join(BF16_FLAGS)}), it would be slower than fp32 and less exact; "
            "leave --precision bf16 out"
        )


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> FrozenSet[str]:
    """What Linux says that the processor can do; nothing where there is no such file, or on other processors."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return frozenset()
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ()))
