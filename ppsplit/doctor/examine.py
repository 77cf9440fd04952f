"""Everything the doctor looks at, in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, FrozenSet, List, Optional

from ppsplit.bundle import Bundle
from ppsplit.doctor.finding import CAVEAT, FATAL, FINE, Finding
from ppsplit.doctor.lite_ops import TARGETS, lite_ops
from ppsplit.doctor.machine import machine_findings
from ppsplit.doctor.operators import operator_findings
from ppsplit.doctor.parameters import parameter_findings
from ppsplit.doctor.subject import Subject, find_subject
from ppsplit.errors import ConfigError, InferenceRuntimeError, ProgramError
from ppsplit.export.lite import TARGETS as CONVERTED_TARGETS
from ppsplit.export.lite_ready import read_program
from ppsplit.runtime.nb import check_nb

NEWEST_PADDLE = (2, 6)


def examine(path: Path, target: str) -> List[Finding]:
    """What stands between a program and its `.nb`, and what stands there already.

    Args:
        path: a bundle's folder, a folder with a program, a `.pdmodel`, or a program's path without its ending.
        target: "arm", "x86" or "opencl".

    Raises:
        BundleError: the bundle is damaged.
        ConfigError: no such target.
        ProgramError: there is no program at `path`.
    """
    if target not in TARGETS:
        raise ConfigError(f"--target {target!r} is unknown; choose from {', '.join(TARGETS)}")
    subject, refusal = find_subject(path)
    findings = [*machine_findings(target), *_target_findings(target)]
    if subject is None:
        return findings + ([refusal] if refusal else [])
    try:
        program = read_program(subject.model)
    except ProgramError as error:
        cure = "save it again with paddle.jit.save or save_inference_model of Paddle 2.6"
        return [*findings, Finding("format", FATAL, str(error), cure)]
    findings.append(format_finding(program.desc._version(), subject.model.name))
    findings += parameter_findings(program, subject.params)
    findings += _operators(program, subject, target)
    return findings + (nb_findings(subject.bundle, target) if subject.bundle else [])


def format_finding(version: int, name: str) -> Finding:
    """Whether Paddle Lite knows the version of Paddle that saved the program.

    Args:
        version: as Paddle writes it: 2006002 for 2.6.2, 0 for a build from a branch.
    """
    major, minor, patch = version // 1_000_000, version // 1000 % 1000, version % 1000
    if not version:
        return Finding("format", CAVEAT, f"{name} does not say which Paddle saved it", "certify what comes out of it")
    found = f"{name} was saved by Paddle {major}.{minor}.{patch}, in the format of Paddle 2"
    if (major, minor) > NEWEST_PADDLE:
        newest = ".".join(map(str, NEWEST_PADDLE))
        return Finding(
            "format", CAVEAT, found, f"Paddle Lite 2.13 knows Paddle up to {newest}: certify, or save with that"
        )
    return Finding("format", FINE, found)


def nb_findings(bundle: Bundle, target: str) -> List[Finding]:
    """Whether the `.nb` that a bundle holds for `target` are whole and by the Paddle Lite that is installed here."""
    files = [
        p.files["nb"] for cut in bundle.manifest.cuts for p in cut.programs if "nb" in p.files and p.target == target
    ]
    if not files:
        return [Finding("nb", FINE, f"the bundle holds no .nb for {target}", f"export-split --nb {target} writes them")]
    try:
        installed = lite_ops(target).version
    except InferenceRuntimeError:
        installed = ""
    made = set()
    for name in files:
        try:
            made.add(check_nb(bundle.path(name), target, installed).version)
        except InferenceRuntimeError as error:
            return [Finding("nb", FATAL, str(error), "export the bundle again")]
    return [Finding("nb", FINE, f"{len(files)} .nb for {target}, whole, by Paddle Lite {' and '.join(sorted(made))}")]


def _target_findings(target: str) -> List[Finding]:
    if target in CONVERTED_TARGETS:
        return []
    cure = f"use --nb {' or '.join(CONVERTED_TARGETS)}, or Paddle Lite's own paddle_lite_opt"
    return [
        Finding(
            "target", CAVEAT, f"export-split writes no .nb for {target}; its operators are looked at all the same", cure
        )
    ]


def _operators(program: Any, subject: Subject, target: str) -> List[Finding]:
    try:
        ops = lite_ops(target)
    except InferenceRuntimeError:
        return [Finding("operators", CAVEAT, "not looked at: there is no Paddle Lite here to ask", "install it first")]
    return operator_findings(program, ops, target, subject.stages, _heads(subject))


def _heads(subject: Subject) -> Optional[Dict[str, FrozenSet[str]]]:
    """Cut's name to the tensors that its head computes; None for what is no bundle."""
    if subject.bundle is None:
        return None
    heads = {}
    for cut, model in subject.heads.items():
        operators = read_program(model).global_block().ops
        heads[cut] = frozenset(name for op in operators if op.type != "feed" for name in op.output_arg_names)
    return heads
