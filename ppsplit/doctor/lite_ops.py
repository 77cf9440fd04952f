"""What Paddle Lite says that it has: its own list of operators for a target, asked in a process of its own."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import FrozenSet, Set

from ppsplit.errors import InferenceRuntimeError

TARGETS = ("arm", "x86", "opencl")
TIMEOUT_S = 60
UNKNOWN = "kUnk"  # the column of operators without a kernel: a pass has to fold them into another

_CHILD = """
import sys
from paddlelite.lite import Opt
opt = Opt()
print("version", opt.version(), flush=True)
opt.set_valid_places(sys.argv[1])
opt.print_supported_ops()
"""


@dataclass(frozen=True)
class LiteOps:
    """Paddle Lite's operators for one target.

    Attributes:
        version: of Paddle Lite, such as "v2.13-rc".
        with_kernel: operators with a kernel that can run there.
        without_kernel: operators it knows and can only fold into others.
    """

    version: str
    with_kernel: FrozenSet[str]
    without_kernel: FrozenSet[str]


@functools.lru_cache(maxsize=None)
def lite_ops(target: str) -> LiteOps:
    """The operators that the installed Paddle Lite has for `target`; asked once a process.

    Raises:
        InferenceRuntimeError: Paddle Lite's optimizer is not installed or did not answer.
    """
    try:
        child = subprocess.run(
            [sys.executable, "-c", _CHILD, target], capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise InferenceRuntimeError(f"Paddle Lite did not list its operators within {TIMEOUT_S} s") from error
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or ["no output"])[-1]
        raise InferenceRuntimeError(
            f"Paddle Lite's optimizer does not run here ({last[:200]}); pip install paddlelite==2.13rc0 "
            "(Linux on x86-64, Python 3.8 to 3.10)"
        )
    return parse_ops(child.stdout)


def parse_ops(text: str) -> LiteOps:
    """What `print_supported_ops` prints, behind a line with the version: a table with a Y under each place's name.

    Raises:
        InferenceRuntimeError: it is no such table.
    """
    lines = text.splitlines()
    version = next((line.split()[1] for line in lines if line.startswith("version ")), "")
    header = next((i for i, line in enumerate(lines) if line.split()[:1] == ["OP_name"]), None)
    if header is None:
        raise InferenceRuntimeError("Paddle Lite printed no list of operators; install paddlelite==2.13rc0")
    places = {m.end(): m.group() for m in re.finditer(r"\S+", lines[header])}
    kernels: Set[str] = set()
    folded: Set[str] = set()
    for line in lines[header + 1 :]:
        words = list(re.finditer(r"\S+", line))
        if words:
            has_kernel = any(places.get(mark.end(), UNKNOWN) != UNKNOWN for mark in words[1:])
            (kernels if has_kernel else folded).add(words[0].group())
    return LiteOps(version, frozenset(kernels), frozenset(folded))
