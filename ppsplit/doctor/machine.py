"""The machine: whether it can convert, what it can run, and whether its processor multiplies integers fast."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from pathlib import Path
from typing import FrozenSet, List, Optional

from ppsplit.doctor.finding import FATAL, FINE, Finding
from ppsplit.doctor.lite_ops import lite_ops
from ppsplit.errors import InferenceRuntimeError
from ppsplit.runtime import native_target

CPUINFO = Path("/proc/cpuinfo")
DOT_PRODUCT = {"x86": ("avx512_vnni", "avx_vnni", "amx_int8"), "arm": ("asimddp",)}
WHEELS = "its wheels are for Linux on x86-64 with Python 3.8 to 3.10; on ARM build it yourself (README, On a board)"


def machine_findings(target: str) -> List[Finding]:
    """One row each on Paddle Lite's wheel, the architecture and the processor."""
    return [wheel_finding(target), architecture_finding(target), processor_finding(target, _cpuinfo())]


def wheel_finding(target: str) -> Finding:
    """Whether the optimizer that converts is installed here and runs."""
    here = f"Python {sys.version_info[0]}.{sys.version_info[1]} on {platform.system()} {platform.machine()}"
    try:
        ops = lite_ops(target)
    except InferenceRuntimeError as error:
        return Finding("paddle lite", FATAL, f"{here}: {error}", f"pip install paddlelite==2.13rc0; {WHEELS}")
    try:
        version = importlib.metadata.version("paddlelite")
    except importlib.metadata.PackageNotFoundError:
        version = "without a wheel's description"
    return Finding("paddle lite", FINE, f"{here}: paddlelite {version}, which writes .nb of {ops.version}")


def architecture_finding(target: str) -> Finding:
    """Whether what is made for `target` can run, and so be certified, here."""
    native = native_target()
    if target == native:
        return Finding("architecture", FINE, f"{target} is this machine's: the .nb can be run and certified here")
    cure = "run it on the board once, or certify the same cut for this machine with --nb " + native
    return Finding(
        "architecture", FINE, f"made for {target} on {native}: it converts, and cannot be certified here", cure
    )


def processor_finding(target: str, cpuinfo: Optional[str]) -> Finding:
    """Whether the processor has instructions for dot products of integers.

    Args:
        cpuinfo: what Linux says of it, None where that is not known.
    """
    native = native_target()
    if cpuinfo is None:
        return Finding("processor", FINE, "dot-product instructions: unknown (they are read on Linux only)")
    found = [name for name in DOT_PRODUCT.get(native, ()) if name in features(cpuinfo)]
    says = f"this {native} has {', '.join(found)}" if found else f"this {native} has no dot-product instructions"
    if target != native:
        return Finding("processor", FINE, f"{says}; the target is {target}", "run doctor on the board to see its own")
    return Finding("processor", FINE, says, "" if found else "expect no speed from 8-bit arithmetic")


def features(cpuinfo: str) -> FrozenSet[str]:
    """What /proc/cpuinfo calls `flags` on x86 and `Features` on ARM, of the first core that says."""
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    return frozenset(found[1].split()) if found else frozenset()


def _cpuinfo() -> Optional[str]:
    try:
        return CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
