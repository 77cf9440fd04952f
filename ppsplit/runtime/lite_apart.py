"""Paddle Lite in a process of its own, for programs of which nobody knows yet whether it bears them.

What its kernels cannot compute is told only when they run, by ending the process.
`python -m ppsplit.runtime.lite_apart PROGRAM.nb FEEDS.npz OUTPUTS.npz` is that process.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List, Mapping, Sequence

import numpy as np

from ppsplit.errors import InferenceRuntimeError, PPSplitError
from ppsplit.runtime import Tensors
from ppsplit.runtime.lite import LiteRuntime

TIMEOUT_S = 600


def run_apart(nb: Path, feeds: Sequence[Mapping[str, np.ndarray]]) -> List[Tensors]:
    """The outputs of a `.nb` for each of several inputs, in the program's order. It takes what it reads of each.

    Raises:
        InferenceRuntimeError: Paddle Lite is not installed, refuses the program, or ended the process over it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        given, made = Path(scratch, "feeds.npz"), Path(scratch, "outputs.npz")
        inputs = {f"{index}/{name}": values for index, each in enumerate(feeds) for name, values in each.items()}
        np.savez(given, **inputs)
        command = [sys.executable, "-m", "ppsplit.runtime.lite_apart", str(nb), str(given), str(made)]
        try:
            child = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise InferenceRuntimeError(f"Paddle Lite was not done with {nb.name} after {TIMEOUT_S} s") from error
        if child.returncode != 0 or not made.is_file():
            raise InferenceRuntimeError(_explain(nb, child.returncode, child.stdout + child.stderr))
        with np.load(made) as archive:
            found: List[Tensors] = [{} for _ in feeds]
            for key in archive.files:
                index, name = key.split("/", 1)
                found[int(index)][name] = archive[key]
            return found


def _explain(nb: Path, returncode: int, output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    failed = [line[line.index("Check failed") :] for line in lines if "Check failed" in line]
    kernel = re.search(r"kernels/\w+/(\w+?)_compute", output)
    if returncode < 0 or failed:
        where = f" in its kernel of {kernel[1]!r}" if kernel else ""
        return f"Paddle Lite ended the process over {nb.name}{where} ({failed[0][:200] if failed else -returncode})"
    return lines[-1] if lines else f"Paddle Lite ended with {returncode} over {nb.name}"


def main(nb: str, feeds: str, outputs: str) -> int:
    """Run, write; 1 where the program is refused."""
    try:
        runtime = LiteRuntime(Path(nb))
        with np.load(feeds) as archive:
            keys = [key.split("/", 1) for key in archive.files]
            given = {(int(index), name): archive[f"{index}/{name}"] for index, name in keys}
        made = {}
        for index in sorted({index for index, _ in given}):
            found = runtime.run({name: given[index, name] for name in runtime.input_names if (index, name) in given})
            made.update({f"{index}/{name}": values for name, values in found.items()})
    except PPSplitError as error:
        print(error, file=sys.stderr)
        return 1
    np.savez(outputs, **made)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
