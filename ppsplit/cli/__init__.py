"""The command line: `ppsplit VERB`, one function a verb, imported when it is asked for.

A verb's function has typed parameters and a docstring, from which `options` makes its command line, and returns
nothing or an exit code. `client` runs on boards that have only the edge's packages, so it brings a command line of
its own.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from dataclasses import dataclass
from typing import Any, Callable, List, Optional, Sequence

from ppsplit import __version__
from ppsplit.errors import ConfigError, PPSplitError
from ppsplit.nearest import nearest


@dataclass(frozen=True)
class Verb:
    """Where a verb's function is.

    Attributes:
        module, function: its place.
        summary: one line for the list of verbs.
        reads_argv: the function takes the arguments as they are, with the program's name, and returns an exit code.
    """

    module: str
    function: str
    summary: str
    reads_argv: bool = False


VERBS = {
    "demo": Verb("ppsplit.cli.demo", "demo", "everything at once: real photos through a split YOLOv3"),
    "download": Verb("ppsplit.cli.download", "download", "fetch named weights, or list them"),
    "download-coco": Verb("ppsplit.cli.download_coco", "download_coco", "fetch COCO 2014 or 2017 to train on"),
    "make-shapes": Verb("ppsplit.cli.make_shapes", "make_shapes", "draw a small data set to train on"),
    "train": Verb("ppsplit.cli.train", "train", "train a network on a set in COCO's format", reads_argv=True),
    "train-prune": Verb(
        "ppsplit.cli.train_prune",
        "train_prune",
        "prune a network's channels and fine-tune what is left",
        reads_argv=True,
    ),
    "train-qat": Verb(
        "ppsplit.cli.train_qat", "train_qat", "fine-tune a network with quantizers in it", reads_argv=True
    ),
    "eval": Verb("ppsplit.cli.eval", "evaluate", "measure the AP of weights on a set in COCO's format"),
    "export": Verb("ppsplit.cli.export", "export", "freeze a network for inference"),
    "import": Verb("ppsplit.cli.import_onnx", "import_onnx", "make a frozen program of an ONNX file"),
    "export-split": Verb("ppsplit.cli.export_split", "export_split", "cut a network in two and write a bundle"),
    "export-quant": Verb("ppsplit.cli.export_quant", "export_quant", "quantize a program or a bundle's edge half"),
    "calibrate": Verb("ppsplit.cli.calibrate", "calibrate", "teach a bundle the codec that sends few bytes"),
    "inspect": Verb("ppsplit.cli.inspect", "inspect_bundle", "show what is in a bundle"),
    "doctor": Verb("ppsplit.cli.doctor", "doctor", "say what will not convert for Paddle Lite, and why"),
    "serve": Verb("ppsplit.cli.serve", "serve", "run the cloud half"),
    "client": Verb("ppsplit.edge.__main__", "main", "run the edge half on photos", reads_argv=True),
    "tail": Verb("ppsplit.cli.tail", "tail", "finish saved features without a server"),
    "infer": Verb("ppsplit.cli.infer", "infer", "run the unsplit network on photos"),
    "quant-report": Verb("ppsplit.cli.quant_report", "report", "show what quantization really does to a bundle"),
    "eval-infer": Verb("ppsplit.cli.eval_infer", "eval_infer", "measure AP, bytes, time and memory of each way"),
    "benchmark": Verb("ppsplit.cli.benchmark", "benchmark", "time every installed runtime on every half of a bundle"),
}


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one verb.

    Args:
        argv: the verb and its options; the process's own by default.

    Returns:
        The exit code: the verb's own or 0, 1 after an error told in one line, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--debug"]:  # it may stand anywhere; the verb comes first
        words = [*words[1:2], "--debug", *words[2:]]
    return guarded(lambda: _run(words), debug="--debug" in words)


def guarded(work: Callable[[], int], debug: bool = False) -> int:
    """The exit code of `work`; an error of ours or the system's becomes one line and code 1, Ctrl-C code 130."""
    try:
        return work()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (PPSplitError, OSError) as error:
        if debug:
            traceback.print_exc()
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except SystemExit as stop:  # how argument parsers end --help
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)


def run_script(function: Callable[..., Any], argv: Sequence[str], prog: str) -> int:
    """A function that is no verb, such as a benchmark, with a verb's command line and errors."""
    from ppsplit.cli.options import run

    words = [word for word in argv if word != "--debug"]
    return guarded(lambda: run(function, words, prog) or 0, debug="--debug" in argv)


def overview() -> str:
    """The list of verbs."""
    width = max(map(len, VERBS))
    lines = [f"  {name:<{width}}  {verb.summary}" for name, verb in VERBS.items()]
    head = ["usage: ppsplit VERB [OPTIONS]", "", "verbs:"]
    return "\n".join([*head, *lines, "", "`ppsplit VERB --help` explains one; --debug shows where an error came from."])


def _run(words: List[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help", "--debug"):
        print(overview())
        return 0
    if words[0] == "--version":
        print(f"ppsplit {__version__}")
        return 0
    name, rest = words[0], words[1:]
    if name not in VERBS:
        raise ConfigError(f"there is no verb {name!r}{nearest(name, VERBS)}")
    function = load(name)
    prog = f"ppsplit {name}"
    if VERBS[name].reads_argv:
        return int(function(rest, prog=prog))
    from ppsplit.cli.options import run

    return run(function, [word for word in rest if word != "--debug"], prog) or 0


def load(name: str) -> Callable[..., Any]:
    """A verb's function. Raises ConfigError where a package that it needs is not installed."""
    verb = VERBS[name]
    try:
        if not verb.reads_argv:
            importlib.import_module("ppsplit.cli.options")
        return getattr(importlib.import_module(verb.module), verb.function)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "ppsplit":
            raise
        raise ConfigError(
            f"{name} needs the package {error.name}, which is not installed; run `make venv`, "
            "or install the extra ppsplit[workshop] (ppsplit[cloud] for serve and tail, ppsplit[edge] for client, "
            "ppsplit[onnx] for import)"
        ) from error
