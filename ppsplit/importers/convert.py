"""ONNX to a frozen Paddle program by way of X2Paddle, tensors named as in the ONNX file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List

import onnx

from ppsplit.errors import OnnxError
from ppsplit.export.program import PARAMS_SUFFIX, FrozenProgram, static_mode
from ppsplit.importers.mend import mend
from ppsplit.importers.onnx_file import OnnxModel
from ppsplit.importers.prepare import prepare
from ppsplit.importers.x2paddle_child import NAMES, PROGRAM

TIMEOUT_S = 1800
ERROR_LINE = re.compile(r"[\w.]*(Error|Exception)\b")  # the last line of a traceback


def convert(model: OnnxModel) -> FrozenProgram:
    """The frozen program of an ONNX model, for its input's size. What it computes has still to be certified.

    Raises:
        OnnxError: an operator cannot be taken; the message names it.
    """
    proto, onnx_names = prepare(model)
    with tempfile.TemporaryDirectory() as scratch:
        path, folder = Path(scratch, "model.onnx"), Path(scratch, "paddle")
        onnx.save(proto, str(path))
        _run_child(path, folder, model.path, onnx_names)
        if not (folder / f"{PROGRAM}{PARAMS_SUFFIX}").is_file():
            raise OnnxError(f"{model.path} has no weights, so there is nothing to split; give a trained model")
        program = FrozenProgram.load(folder / PROGRAM)
        variables: Dict[str, str] = json.loads((folder / NAMES).read_text(encoding="utf-8"))
    wanted = [variables.get(output.name, "") for output in proto.graph.output]
    if sorted(wanted) != sorted(program.fetch_names):
        raise OnnxError(
            f"{model.path}: X2Paddle's program returns {program.fetch_names}, the model {model.output_names}; an "
            "output that is an input or a constant cannot be taken"
        )
    program.fetch_names = wanted
    mend(program)
    rename_variables(program, {variable: onnx_names[name] for name, variable in variables.items()})
    return program


def _run_child(path: Path, folder: Path, source: Path, onnx_names: Dict[str, str]) -> None:
    command = [sys.executable, "-m", "ppsplit.importers.x2paddle_child", str(path), str(folder)]
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    try:
        child = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise OnnxError(f"{source}: X2Paddle did not end within {TIMEOUT_S} s") from error
    if child.returncode != 0 or not (folder / NAMES).is_file():
        raise OnnxError(f"{source}: {_explain(child.stdout, child.stderr, onnx_names)}")


def _explain(output: str, errors: str, onnx_names: Dict[str, str]) -> str:
    """Why X2Paddle gave up, from what it printed, with the file's own names."""
    unknown = unknown_operators(output)
    if unknown:
        return (
            f"X2Paddle does not know the operator {', '.join(map(repr, unknown))}; export the model without it, or cut "
            "it off (post-processing can be left out, --decode does it)"
        )
    failed = re.search(r"convert failed node:(\S+?), op_type is (\w+)", errors)
    if failed:
        name = onnx_names.get(failed[1].replace("x2paddle_", ""), failed[1])
        return f"X2Paddle cannot take the operator {failed[2]!r} that makes {name!r}; export the model without it"
    lines = [line.strip() for line in errors.splitlines() if line.strip()] or ["no output"]
    reason = next((line for line in reversed(lines) if ERROR_LINE.match(line)), lines[-1])  # warnings come last
    if "No module named" in reason:
        return f"importing needs the extra ppsplit[onnx] ({reason}); run `make venv`, or install it"
    return f"X2Paddle gave up ({reason[:300]}); export the model with opset 11 to 15 and fixed sizes"


def unknown_operators(output: str) -> List[str]:
    """The operators that X2Paddle says it does not know."""
    if "OPs are not supported yet" not in output:
        return []
    return sorted(re.findall(r"^=+ (\w+) =+$", output, re.MULTILINE))


@static_mode()
def rename_variables(program: FrozenProgram, names: Dict[str, str]) -> None:
    """Rename activations of a program in place.

    Args:
        names: variable to its new name. Of several that want the same one, the first gets it; another variable that
            has it already, such as Paddle's own `conv2d_0.tmp_0` beside one of the file, gives it up.
    """
    block = program.program.global_block()
    final: Dict[str, str] = {}
    for old, new in names.items():
        if old in block.vars and not block.var(old).persistable and new not in final.values():
            final[old] = new
    for holder in set(final.values()) & set(block.vars) - set(final):
        if block.var(holder).persistable:  # parameters keep their names: their values are found by them
            final = {old: new for old, new in final.items() if new != holder}
        else:
            final[holder] = f"{holder}.x2paddle"
    for step, (old, _) in enumerate(final.items()):
        block._rename_var(old, f"ppsplit_renamed_{step}")
    for step, (_, new) in enumerate(final.items()):
        block._rename_var(f"ppsplit_renamed_{step}", new)
    program.feed_names = [final.get(name, name) for name in program.feed_names]
    program.fetch_names = [final.get(name, name) for name in program.fetch_names]
