"""What really runs: the kernels that oneDNN says it executed, and those that are written into a `.nb`.

A quantized program says what was meant. Whether it is computed in integers is decided by the runtime when it
optimises the program: Paddle Lite turns weights that are integers in the file back to fp32 when it loads them, where
no activation has a scale, and Paddle Inference folds quantizers away unless its int8 passes are on.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

from ppsplit.errors import InferenceRuntimeError
from ppsplit.evaluate.quant_subjects import Subject
from ppsplit.quant.packed import unpack_weights
from ppsplit.runtime.nb import check_nb, read_nb
from ppsplit.runtime.packed_nb import read_packed_nb

RUNS = 3
TIMEOUT_S = 600
MATRIX_WORK = frozenset(("convolution", "deconvolution", "inner_product", "matmul"))
LITE_MATRIX_WORK = frozenset(("conv2d", "depthwise_conv2d", "conv2d_transpose", "fc", "mul", "matmul", "matmul_v2"))
LITE_PRECISIONS = {1: "f32", 2: "s8", 5: "f16"}  # Paddle Lite's PrecisionType
INTEGERS = frozenset(("s8", "u8"))


@dataclass(frozen=True)
class Executed:
    """What one run of a head consists of.

    Attributes:
        matrix_work: type of the numbers multiplied ("f32", "s8", "u8", "bf16") to how many convolutions and matrix
            products multiply them.
        others: how many other kernels, reorders (changes of layout or type) among them.
        evidence: where this was read.
    """

    matrix_work: Dict[str, int]
    others: int
    evidence: str

    @property
    def int8_share(self) -> float:
        """Of the convolutions and matrix products, how many are computed in integers, 0..1."""
        total = sum(self.matrix_work.values())
        return sum(count for kind, count in self.matrix_work.items() if kind in INTEGERS) / total if total else 0.0


@dataclass(frozen=True)
class Memory:
    """Most memory resident in a process that runs one head and nothing else.

    Attributes:
        framework_bytes: before the head was loaded, its runtime imported.
        peak_bytes: after it ran.
    """

    framework_bytes: int
    peak_bytes: int


def run_apart(subject: Subject) -> Tuple[Executed, Memory]:
    """Run a head in a process of its own and see which kernels it consists of and what memory it takes.

    Raises:
        InferenceRuntimeError: it failed, and its last words are in the message; or it did not end in time.
    """
    program = subject.program
    arguments = [str(subject.bundle.root), subject.cut.name, program.runtime, program.precision]
    if program.target != "any":
        arguments += ["--target", program.target]
    command = [sys.executable, "-m", "ppsplit.evaluate.quant_child", *arguments, "--runs", str(RUNS)]
    environment = {**os.environ, "ONEDNN_VERBOSE": "1", "DNNL_VERBOSE": "1"}  # the older name, too
    try:
        child = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise InferenceRuntimeError(
            f"{subject.name} did not load and run within {TIMEOUT_S} s; try on a machine with less to do, "
            "or cut earlier"
        ) from error
    lines = child.stdout.strip().splitlines()
    if child.returncode != 0 or not lines:
        words = child.stderr.strip().splitlines()
        raise InferenceRuntimeError(f"{subject.name} failed: {words[-1] if words else child.returncode}")
    said: Dict[str, Any] = json.loads(lines[-1])
    memory = Memory(said["framework_rss_bytes"], said["peak_rss_bytes"])
    if program.runtime == "lite":
        return lite_kernels(_nb_kernels(subject)), memory
    return onednn_kernels(lines, RUNS), memory


def _nb_kernels(subject: Subject) -> Tuple[str, ...]:
    files, bundle = subject.program.files, subject.bundle
    if "packed" not in files:
        return read_nb(bundle.path(files["nb"])).kernels
    skeleton = bundle.path(files["packed_nb"])
    whole = read_packed_nb(skeleton, unpack_weights(bundle.path(files["packed"])))
    return check_nb(skeleton, subject.program.target, "", whole).kernels


def onednn_kernels(lines: Sequence[str], runs: int) -> Executed:
    """One run's kernels, from what oneDNN printed with ONEDNN_VERBOSE=1.

    A line is `onednn_verbose,exec,cpu,PRIMITIVE,IMPLEMENTATION,KIND,TENSORS,...`, a tensor `src_u8:...`.
    Primitives that happen once only, as when weights are brought into a kernel's layout, are counted as 0.

    Args:
        runs: how many the lines are of.
    """
    matrix_work: "Counter[str]" = Counter()
    others = 0
    for line in lines:
        fields = line.split(",")
        if len(fields) < 7 or fields[0] not in ("onednn_verbose", "dnnl_verbose") or fields[1] != "exec":
            continue
        source = re.search(r"\bsrc_(\w+):", fields[6])
        if fields[3] in MATRIX_WORK and source:
            matrix_work[source[1]] += 1
        else:
            others += 1
    counted = {kind: count // runs for kind, count in matrix_work.items()}
    return Executed(counted, others // runs, "kernels that oneDNN reported as executed")


def lite_kernels(kernels: Sequence[str]) -> Executed:
    """The kernels of a `.nb`, as `runtime.nb.NbFile` holds them; Paddle Lite runs these and no others."""
    matrix_work: "Counter[str]" = Counter()
    for kernel in kernels:
        kind, precision = kernel.split("/")[0], int(kernel.split("/")[-2])
        if kind in LITE_MATRIX_WORK:
            matrix_work[LITE_PRECISIONS.get(precision, f"precision {precision}")] += 1
    return Executed(dict(matrix_work), len(kernels) - sum(matrix_work.values()), "kernels named in the .nb")


def verdict(executed: Executed, bytes_ratio: float) -> str:
    """In words, what quantization does here.

    Args:
        bytes_ratio: of the file that is loaded, to fp32's of the same runtime.
    """
    size = "smaller file" if bytes_ratio < 0.95 else "larger file" if bytes_ratio > 1.05 else "file as large"
    if not executed.matrix_work:
        return f"{size}; which arithmetic cannot be seen"
    total = sum(executed.matrix_work.values())
    if executed.int8_share == 0:
        return f"{size}, same arithmetic as fp32"
    whole: List[str] = [size, "int8 arithmetic"]
    if executed.int8_share < 1:
        whole[-1] += f" in {round(executed.int8_share * total)} of {total} layers"
    return ", ".join(whole)
