"""The client's command line: argparse, because the board has nothing else."""

from __future__ import annotations

import argparse
from pathlib import Path

from ppsplit.codec import ENCODINGS
from ppsplit.edge.head import DEFAULT_RUNTIME
from ppsplit.errors import ConfigError
from ppsplit.runtime.choice import RUNTIMES
from ppsplit.runtime.threads import POWER_MODES

DEFAULT_SERVER = "http://127.0.0.1:8866"
DEFAULT_OUTPUT = Path("output/client")


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The parser. `prog` is what the usage line calls the program."""
    parser = argparse.ArgumentParser(
        prog, description="Detect objects: the head of the network here, the rest in the cloud.", allow_abbrev=False
    )
    _add_main(parser)
    _add_split(parser)
    _add_ways(parser)
    _add_running(parser)
    return parser


def check(arguments: argparse.Namespace) -> None:
    """Raise ConfigError for values that neither argparse nor a Job, Options or Head judges."""
    if arguments.jpeg is not None and not 1 <= arguments.jpeg <= 100:
        raise ConfigError(f"--jpeg is {arguments.jpeg}; expected a quality from 1 to 100")
    if not 0 < arguments.timeout < 1e6 or arguments.retries < 0:
        raise ConfigError("--timeout must be above 0 seconds and --retries at least 0")


def _add_main(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--input", type=Path, required=True, metavar="IMAGE|DIR", help="one picture, or a folder")
    parser.add_argument("--server", default=DEFAULT_SERVER, metavar="URL", help="the cloud half (%(default)s)")
    parser.add_argument(
        "--output", type=Path, default=DEFAULT_OUTPUT, help="for drawn pictures and detections.json (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the report here, not to detections.json")
    parser.add_argument("--no-draw", action="store_true", help="write no pictures")
    parser.add_argument("--score-threshold", type=float, help="drop objects below (default: the bundle's)")
    parser.add_argument("--max-detections", type=int, help="per picture (default: the bundle's)")


def _add_split(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the split")
    group.add_argument("--cut", help="where the network is divided (default: the bundle's first cut)")
    group.add_argument(
        "--encoding", "--codec", choices=ENCODINGS, default="uint8", help="of what is sent (%(default)s)"
    )
    dial = group.add_mutually_exclusive_group()
    dial.add_argument("--quality", type=int, metavar="1..100", help="of feature (default: the bundle's choice)")
    dial.add_argument(
        "--target-bytes", type=int, metavar="N", help="of feature: the best quality that fits, picture by picture"
    )
    group.add_argument("--runtime", choices=RUNTIMES, default=DEFAULT_RUNTIME, help="for the head (%(default)s)")
    group.add_argument("--precision", help="of the head: fp32, int8, ptq-hist, mixed, ... (default: the bundle's)")
    group.add_argument("--target", help="x86 or arm, for lite (default: this machine)")
    group.add_argument("--threads", type=int, default=1, help="for the head (%(default)s); lite on x86 uses one")
    group.add_argument("--power-mode", choices=POWER_MODES, help="for lite on ARM: which cores (default: its choice)")


def _add_ways(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("other ways").add_mutually_exclusive_group()
    group.add_argument("--local", action="store_true", help="compute everything here and send nothing")
    group.add_argument(
        "--jpeg", type=int, metavar="QUALITY", help="send the picture as JPEG, whole network in the cloud"
    )
    group.add_argument("--save-features", type=Path, metavar="FILE", help="write the frame there instead of sending it")


def _add_running(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("running")
    group.add_argument("--batch-size", type=int, default=1, help="pictures sent together (%(default)s)")
    group.add_argument("--rounds", type=int, default=1, help="do everything this often, report medians (%(default)s)")
    group.add_argument("--timeout", type=float, default=30.0, help="seconds for the server to answer (%(default)s)")
    group.add_argument("--retries", type=int, default=3, help="after a lost connection or 502, 503, 504 (%(default)s)")
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")
