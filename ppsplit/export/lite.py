"""Frozen program to Paddle Lite `.nb`, in a process of its own.

Paddle Lite's optimizer aborts the whole process on an operator or attribute it cannot take.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Optional

from ppsplit.errors import ConversionError
from ppsplit.export.lite_ready import write_lite_ready
from ppsplit.export.program import MODEL_SUFFIX, PARAMS_SUFFIX

TARGETS = ("x86", "arm")
TIMEOUT_S = 600
QUANT_TYPES = {"int8": "QUANT_INT8", "int16": "QUANT_INT16"}

# Runs in the child: nothing of ours is imported there, so an abort can hurt nothing.
_CHILD = """
import sys
from paddlelite.lite import Opt
model, params, out, target, quant = sys.argv[1:6]
opt = Opt()
opt.set_model_file(model)
opt.set_param_file(params)
opt.set_valid_places(target)
opt.set_model_type("naive_buffer")
opt.set_optimize_out(out)
if quant:
    opt.set_quant_model(True)
    opt.set_quant_type(quant)
opt.run()
"""


def convert_to_nb(prefix: Path, nb: Path, target: str, precision: str = "fp32") -> Path:
    """Write `<prefix>.pdmodel/.pdiparams` as the Paddle Lite program `nb`.

    Args:
        target: "x86" or "arm".
        precision: "fp32", or "int8"/"int16": smaller weights in the file, the same fp32 arithmetic.

    Raises:
        ConversionError: the target is unknown, or the optimizer gave up; the message names the operator.
        ProgramError: there is no program at `prefix`.
    """
    if target not in TARGETS:
        raise ConversionError(f"unknown Paddle Lite target {target!r}; known: {', '.join(TARGETS)}")
    nb.parent.mkdir(parents=True, exist_ok=True)
    partial = nb.with_name(nb.stem + ".partial")
    with tempfile.TemporaryDirectory() as scratch:
        model = write_lite_ready(Path(f"{prefix}{MODEL_SUFFIX}"), Path(scratch))
        arguments = [str(model), f"{prefix}{PARAMS_SUFFIX}", str(partial), target]
        command = [sys.executable, "-c", _CHILD, *arguments, QUANT_TYPES.get(precision, "")]
        try:
            child = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise ConversionError(f"Paddle Lite's optimizer did not end within {TIMEOUT_S} s for {target}") from error
    written = partial.with_name(partial.name + ".nb")
    if child.returncode != 0 or not written.is_file():
        written.unlink(missing_ok=True)
        raise ConversionError(_explain(child.stdout + child.stderr, child.returncode, target))
    os.replace(written, nb)
    return nb


def _explain(output: str, returncode: int, target: str) -> str:
    operator = unsupported_operator(output)
    if operator:
        return (
            f"Paddle Lite cannot take operator {operator!r} for target {target}; cut before it, or replace it "
            "by operators Paddle Lite has (`ppsplit doctor` lists what else there is)"
        )
    if "No module named" in output:
        return "converting needs Paddle Lite's wheel: pip install paddlelite==2.13rc0 (x86-64, Python 3.8 to 3.10)"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if returncode < 0 and not any("Check failed" in line for line in lines):
        return (
            f"Paddle Lite's optimizer crashed (signal {-returncode}) for target {target}; `ppsplit doctor` knows the "
            "usual causes"
        )
    telling = [line for line in lines if "Check failed" in line or "Error" in line] or lines[-1:] or ["no output"]
    return f"Paddle Lite's optimizer ended with code {returncode} for target {target}: {telling[0][:300]}"


def unsupported_operator(output: str) -> Optional[str]:
    """The operator that Paddle Lite's optimizer complains about in `output`, None where it names none."""
    patterns = (
        r"unsupported ops are: '([A-Za-z_0-9]+)'",
        r"No attributes? called \w+ found for ([A-Za-z_0-9]+)",
        r"No kernels found for ([A-Za-z_0-9]+)",
    )
    for pattern in patterns:
        match = re.search(pattern, output)
        if match:
            return match.group(1)
    return None
