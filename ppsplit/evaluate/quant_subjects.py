"""The heads of a bundle that a quantization report is about: which there are, and what each is called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import List

from ppsplit.bundle import HEAD, Bundle, Cut, ProgramFiles
from ppsplit.edge.head import Head
from ppsplit.errors import BundleError
from ppsplit.runtime import runs_here

REFERENCE = "fp32"
REPORTED = ("paddle", "lite")  # which kernels run can be seen in these


@dataclass(frozen=True)
class Subject:
    """One head of one cut, in one runtime and precision, that this machine can run."""

    bundle: Bundle
    cut: Cut
    program: ProgramFiles

    @property
    def name(self) -> str:
        """ "paddle/int8", or "lite-x86/int8": what is run in, and the precision."""
        target = "" if self.program.target == "any" else f"-{self.program.target}"
        return f"{self.program.runtime}{target}/{self.program.precision}"

    @property
    def is_reference(self) -> bool:
        """Whether the others of its runtime are measured against it."""
        return self.program.precision == REFERENCE

    def files(self) -> List[Path]:
        """What its runtime loads, hashes checked. Raises BundleError."""
        return [self.bundle.path(name) for name in self.program.files.values()]

    def load(self, threads: int = 1) -> Head:
        """The head, ready to run, as the edge's client loads it. Raises as `runtime.choice.load_part`."""
        program = self.program
        target = program.target if program.runtime == "lite" else None
        return Head(self.bundle, self.cut, program.runtime, program.precision, target, threads)


def subjects_of(bundle: Bundle, cut_name: str = "") -> List[Subject]:
    """Every head of a cut for Paddle and Paddle Lite that this machine can run, each runtime's fp32 one first.

    Args:
        cut_name: "" for the bundle's first cut.

    Raises:
        BundleError: no such cut, nothing runs on the edge there, or there is no fp32 head in Paddle to compare with.
    """
    cut = bundle.cut(cut_name or None)
    bundle.program(cut, HEAD, "paddle", REFERENCE)
    subjects = [Subject(bundle, cut, p) for p in cut.programs if p.part == HEAD and p.runtime in REPORTED]
    found = [subject for subject in subjects if runs_here(subject.program)]
    if not found:
        raise BundleError(
            f"cut {cut.name!r} has nothing to compute on the edge, so nothing to quantize; choose another"
        )
    runtimes = list(dict.fromkeys(subject.program.runtime for subject in found))
    return sorted(found, key=lambda s: (runtimes.index(s.program.runtime), not s.is_reference))


def reference_of(subjects: List[Subject], runtime: str = "paddle") -> Subject:
    """The fp32 head of a runtime. Raises BundleError where there is none."""
    for subject in subjects:
        if subject.is_reference and subject.program.runtime == runtime:
            return subject
    raise BundleError(f"the bundle has no fp32 head for {runtime}, which the others are compared with; export it again")
