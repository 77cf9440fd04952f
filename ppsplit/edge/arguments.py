"""The client's command line: argparse, because the board has nothing else."""

from __future__ import annotations

import argparse
from pathlib import Path

from ppsplit.codec import ENCODINGS
from ppsplit.edge.frames import is_pictures
from ppsplit.edge.head import DEFAULT_RUNTIME
from ppsplit.edge.stream import DEFAULT_DEADLINE_MS, DEFAULT_DEPTH, DEFAULT_WAITING
from ppsplit.errors import ConfigError
from ppsplit.runtime.choice import RUNTIMES
from ppsplit.runtime.threads import POWER_MODES

DEFAULT_SERVER = "http://127.0.0.1:8866"
DEFAULT_OUTPUT = Path("output/client")
DEFAULT_ENCODING = "uint8"
TOKEN_VARIABLE = "PPSPLIT_TOKEN"
FASTEST = "fastest"  # of the runtimes that are installed, by trying them


def build_parser(prog: str) -> argparse.ArgumentParser:
    """The parser. `prog` is what the usage line calls the program."""
    parser = argparse.ArgumentParser(
        prog, description="Detect objects: the head of the network here, the rest in the cloud.", allow_abbrev=False
    )
    _add_main(parser)
    _add_split(parser)
    _add_ways(parser)
    _add_stream(parser)
    _add_running(parser)
    return parser


def is_stream(arguments: argparse.Namespace) -> bool:
    """Whether frames are to be answered whatever the link does: for a video, a camera, or what only a stream has."""
    wanted = (arguments.deadline_ms, arguments.target_latency_ms, arguments.jsonl, arguments.coco_results)
    return any(value is not None for value in wanted) or not is_pictures(arguments.input)


def check(arguments: argparse.Namespace) -> None:
    """Raise ConfigError for values that neither argparse nor a Job, Options or Head judges."""
    if arguments.jpeg is not None and not 1 <= arguments.jpeg <= 100:
        raise ConfigError(f"--jpeg is {arguments.jpeg}; expected a quality from 1 to 100")
    if not 0 < arguments.timeout < 1e6 or arguments.retries < 0:
        raise ConfigError("--timeout must be above 0 seconds and --retries at least 0")
    if arguments.target_latency_ms is not None and (arguments.encoding, arguments.quality, arguments.target_bytes) != (
        None,
        None,
        None,
    ):
        raise ConfigError("--target-latency-ms chooses the encoding by itself; leave --encoding and its dials out")
    alone = arguments.local or arguments.jpeg is not None or arguments.save_features is not None
    if is_stream(arguments) and (alone or arguments.batch_size != 1 or arguments.rounds != 1):
        raise ConfigError(
            "a video, a camera and the options of streams go frame by frame through the split; leave out "
            "--local, --jpeg, --save-features, --batch-size and --rounds"
        )
    for_streams = (arguments.no_tail, arguments.coco_annotations, arguments.depth, arguments.waiting)
    if not is_stream(arguments) and for_streams != (False, None, DEFAULT_DEPTH, DEFAULT_WAITING):
        raise ConfigError(
            "--no-tail, --depth, --waiting and --coco-annotations are for streams; give --deadline-ms, "
            "--target-latency-ms, --jsonl or --coco-results, too, which make pictures one"
        )


def _add_main(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the bundle")
    parser.add_argument(
        "--input",
        required=True,
        metavar="IMAGE|DIR|VIDEO|CAMERA",
        help="a picture, a folder, a video file, or a camera: 0, /dev/video0, rtsp://...",
    )
    parser.add_argument(
        "--server",
        action="append",
        metavar="URL",
        help=f"the cloud half; again for others to turn to when it fails ({DEFAULT_SERVER})",
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help=f"holds the token to show (default: ${TOKEN_VARIABLE}, if set)"
    )
    parser.add_argument(
        "--output", type=Path, default=DEFAULT_OUTPUT, help="for what is drawn, and detections.json (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the report here, not to detections.json")
    parser.add_argument("--no-draw", action="store_true", help="write no pictures")
    parser.add_argument("--score-threshold", type=float, help="drop objects below (default: the bundle's)")
    parser.add_argument("--max-detections", type=int, help="per picture (default: the bundle's)")


def _add_split(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the split")
    group.add_argument("--cut", help="where the network is divided (default: the bundle's first cut)")
    group.add_argument(
        "--encoding", "--codec", choices=ENCODINGS, help=f"of what is sent ({DEFAULT_ENCODING}, or see below)"
    )
    dial = group.add_mutually_exclusive_group()
    dial.add_argument(
        "--quality", type=int, metavar="1..100", help="of feature (default: the bundle's choice) and mosaic"
    )
    dial.add_argument(
        "--target-bytes", type=int, metavar="N", help="of feature: the best quality that fits, picture by picture"
    )
    group.add_argument(
        "--runtime",
        choices=(*RUNTIMES, FASTEST),
        default=DEFAULT_RUNTIME,
        help="for the head (%(default)s); fastest: try all that are installed, for some seconds, and take that",
    )
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


def _add_stream(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "streams", "A video, a camera, or any of these: every frame gets an answer, by the tail here if need be."
    )
    group.add_argument(
        "--deadline-ms", type=float, metavar="MS", help=f"for each frame, from its head on ({DEFAULT_DEADLINE_MS:g})"
    )
    group.add_argument(
        "--target-latency-ms", type=float, metavar="MS", help="choose cut and encoding by what the link is seen to do"
    )
    group.add_argument("--no-tail", action="store_true", help="load no tail: frames without the cloud are stale")
    group.add_argument(
        "--depth", type=int, default=DEFAULT_DEPTH, help="frames in work at once; 1 is one by one (%(default)s)"
    )
    group.add_argument(
        "--waiting", type=int, default=DEFAULT_WAITING, help="a camera's frames that wait at most (%(default)s)"
    )
    group.add_argument("--jsonl", metavar="FILE", help="a line of JSON for each frame; - for standard output")
    group.add_argument("--coco-results", type=Path, metavar="FILE", help="boxes as COCO's results")
    group.add_argument(
        "--coco-annotations", type=Path, metavar="FILE", help="that say what ids pictures and categories have there"
    )


def _add_running(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("running")
    group.add_argument("--batch-size", type=int, default=1, help="pictures sent together (%(default)s)")
    group.add_argument("--rounds", type=int, default=1, help="do everything this often, report medians (%(default)s)")
    group.add_argument(
        "--timeout", type=float, default=30.0, help="seconds for an answer, retries included (%(default)s)"
    )
    group.add_argument("--retries", type=int, default=3, help="after a fault or a refusal that may pass (%(default)s)")
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")
