"""What the command line asks for: make the client, give it the job."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from ppsplit.bundle import TAIL, Bundle, Cut
from ppsplit.codec import MAX_BATCH, Codec
from ppsplit.edge.adapt import AdaptivePolicy
from ppsplit.edge.arguments import DEFAULT_ENCODING, DEFAULT_SERVER, TOKEN_VARIABLE
from ppsplit.edge.client import Client, EdgeClient, JpegClient, LocalClient
from ppsplit.edge.frames import PictureFiles, Source, open_source
from ppsplit.edge.head import Head
from ppsplit.edge.job import Job, check_output, run_job
from ppsplit.edge.link import Link
from ppsplit.edge.outputs import VIDEO_SUFFIXES, CocoResults, DrawnPictures, DrawnVideo, JsonLines, Output
from ppsplit.edge.points import adaptive_points, make_point
from ppsplit.edge.progress import ProgressBar
from ppsplit.edge.sources import find_images, read_photos
from ppsplit.edge.stream import DEFAULT_DEADLINE_MS, StreamClient
from ppsplit.edge.stream_job import run_stream
from ppsplit.errors import BundleError, ConfigError
from ppsplit.files import write_bytes_atomically
from ppsplit.runtime import Runtime
from ppsplit.runtime.choice import load_part
from ppsplit.wire import Options

REPORT_FILE, VIDEO_FILE = "detections.json", "drawn.mp4"
ADAPTIVE = "adaptive"

log = logging.getLogger(__name__)


def run(arguments: argparse.Namespace) -> Dict[str, Any]:
    """Everything the command line asks for; returns the report that was written.

    Raises:
        PPSplitError: one of its kinds; nothing is left half written.
        OSError: a result cannot be written.
    """
    bundle = Bundle.open(arguments.bundle)
    job = Job(
        find_images(Path(arguments.input)),
        arguments.output,
        arguments.json or arguments.output / REPORT_FILE,
        not arguments.no_draw,
        arguments.batch_size,
        arguments.rounds,
    )
    return run_job(_make_client(bundle, arguments), job, _settings(bundle, arguments))


def save_features(arguments: argparse.Namespace) -> int:
    """Write the pictures' features as one frame to a file; returns its length in bytes. Raises as `run`."""
    bundle = Bundle.open(arguments.bundle)
    paths = find_images(Path(arguments.input))
    if len(paths) > MAX_BATCH:
        raise ConfigError(f"--save-features makes one frame of all {len(paths)} pictures; at most {MAX_BATCH} fit")
    client = _make_split(bundle, arguments, None)
    bar = ProgressBar(1)
    photos = list(read_photos(paths, lambda error: bar.say(f"skipped: {error}")))
    frame, _ = client.make_frame([photo.image_rgb for photo in photos])
    write_bytes_atomically(arguments.save_features, frame)
    return len(frame)


def run_streaming(arguments: argparse.Namespace) -> Dict[str, Any]:
    """As `run`, for a stream: every frame gets an answer. Raises as `run`."""
    bundle, skipped = Bundle.open(arguments.bundle), []  # type: Bundle, List[str]
    source = open_source(arguments.input, lambda error: skipped.append(str(error)))
    report = arguments.json or arguments.output / REPORT_FILE
    if isinstance(source, PictureFiles) and not arguments.no_draw:
        check_output(source.paths, arguments.output)
    with _make_stream(bundle, arguments) as client:
        outputs = _outputs(source, bundle.manifest.class_names, arguments)
        return run_stream(client, source, outputs, report, _settings(bundle, arguments), skipped)


def _make_stream(bundle: Bundle, arguments: argparse.Namespace) -> StreamClient:
    adaptive = arguments.target_latency_ms is not None
    cuts = list(bundle.manifest.cuts) if adaptive and arguments.cut is None else [bundle.cut(arguments.cut)]
    heads = [_make_head(bundle, arguments, cut) for cut in cuts]
    policy = None
    if adaptive:
        points = adaptive_points(bundle, heads)
        costs = [point.expected_bytes for point in points]
        policy = AdaptivePolicy([point.name for point in points], costs, arguments.target_latency_ms)
    else:
        encoding = arguments.encoding or DEFAULT_ENCODING
        points = [make_point(bundle, heads[0], encoding, arguments.quality, arguments.target_bytes)]
    deadline_ms = DEFAULT_DEADLINE_MS if arguments.deadline_ms is None else arguments.deadline_ms
    return StreamClient(
        points,
        _make_link(bundle, arguments, arguments.depth),
        {} if arguments.no_tail else _tails(bundle, cuts, arguments),
        _options(arguments),
        deadline_ms,
        arguments.depth,
        arguments.waiting,
        policy,
    )


def _tails(bundle: Bundle, cuts: Sequence[Cut], arguments: argparse.Namespace) -> Dict[str, Runtime]:
    """The tails that the bundle holds for this runtime; for the others the log says what that means."""
    tails = {}
    for cut in cuts:
        try:
            tails[cut.name] = load_part(
                bundle, cut, TAIL, arguments.runtime, None, arguments.target, arguments.threads, arguments.power_mode
            )
        except BundleError as error:
            log.warning("%s; frames that the cloud does not answer will be stale (export-split --with-tail)", error)
    return tails


def _outputs(source: Source, class_names: Sequence[str], arguments: argparse.Namespace) -> List[Output]:
    outputs: List[Output] = []
    if not arguments.no_draw:
        if isinstance(source, PictureFiles):
            outputs.append(DrawnPictures(arguments.output, class_names))
        else:
            is_file = arguments.output.suffix.lower() in VIDEO_SUFFIXES
            video = arguments.output if is_file else arguments.output / VIDEO_FILE
            outputs.append(DrawnVideo(video, source.frames_per_s, class_names))
    if arguments.coco_results is not None:
        outputs.append(CocoResults(arguments.coco_results, class_names, arguments.coco_annotations))
    if arguments.jsonl is not None:
        outputs.append(JsonLines(arguments.jsonl, class_names))
    return outputs


def _make_link(bundle: Bundle, arguments: argparse.Namespace, streams: int = 0) -> Link:
    """The link to the servers that are named; `streams`: frames that a stream has in work at once, 0 for none."""
    return Link(
        arguments.server or DEFAULT_SERVER,
        arguments.timeout,
        retries=arguments.retries,
        token=_token(arguments),
        fail_fast=streams > 0,
        connections=streams + 1,
        fingerprint=bundle.manifest.fingerprint,
    )


def _token(arguments: argparse.Namespace) -> Optional[str]:
    if arguments.token_file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        return str(arguments.token_file.read_text(encoding="utf-8")).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the token cannot be read from {arguments.token_file} ({error}); --token-file") from error


def _options(arguments: argparse.Namespace) -> Options:
    return Options(score_threshold=arguments.score_threshold, max_detections=arguments.max_detections)


def _make_head(bundle: Bundle, arguments: argparse.Namespace, cut: Optional[Cut] = None) -> Head:
    return Head(
        bundle,
        cut or bundle.cut(arguments.cut),
        arguments.runtime,
        arguments.precision,
        arguments.target,
        arguments.threads,
        arguments.power_mode,
    )


def _make_client(bundle: Bundle, arguments: argparse.Namespace) -> Client:
    if arguments.local:
        cut = bundle.cut(arguments.cut)
        tail = load_part(
            bundle, cut, TAIL, arguments.runtime, None, arguments.target, arguments.threads, arguments.power_mode
        )
        return LocalClient(_make_head(bundle, arguments), tail, _options(arguments))
    link = _make_link(bundle, arguments)
    if arguments.jpeg is not None:
        return JpegClient(bundle, link, arguments.jpeg, _options(arguments))
    return _make_split(bundle, arguments, link)


def _make_split(bundle: Bundle, arguments: argparse.Namespace, link: Optional[Link]) -> EdgeClient:
    cut = bundle.cut(arguments.cut)
    encoding = arguments.encoding or DEFAULT_ENCODING
    codec = Codec(bundle, cut, encoding, arguments.quality, arguments.target_bytes)  # refuses before a load
    return EdgeClient(_make_head(bundle, arguments), link, options=_options(arguments), codec=codec)


def _settings(bundle: Bundle, arguments: argparse.Namespace) -> Dict[str, Any]:
    """How it was done, null where a setting plays no part."""
    whole, adaptive = arguments.jpeg is not None, arguments.target_latency_ms is not None
    encoding = ADAPTIVE if adaptive else arguments.encoding or DEFAULT_ENCODING
    return {
        "bundle": bundle.manifest.name,
        "fingerprint": bundle.manifest.fingerprint,
        "cut": None if whole else bundle.cut(arguments.cut).name,
        "encoding": f"jpeg q{arguments.jpeg}" if whole else None if arguments.local else encoding,
        "quality": None if whole or arguments.local else arguments.quality,
        "target_bytes": None if whole or arguments.local else arguments.target_bytes,
        "runtime": None if whole else arguments.runtime,
        "precision": None if whole else arguments.precision or bundle.manifest.precision,
        "server": None if arguments.local else ", ".join(arguments.server or [DEFAULT_SERVER]),
        "batch_size": arguments.batch_size,
        "rounds": arguments.rounds,
    }
