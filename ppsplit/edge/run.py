"""What the command line asks for: make the client, give it the job."""

from __future__ import annotations

import argparse
from typing import Any, Dict, Optional

from ppsplit.bundle import TAIL, Bundle
from ppsplit.codec import MAX_BATCH, Codec
from ppsplit.edge.client import Client, EdgeClient, JpegClient, LocalClient
from ppsplit.edge.head import Head
from ppsplit.edge.job import Job, run_job
from ppsplit.edge.link import Link
from ppsplit.edge.progress import ProgressBar
from ppsplit.edge.sources import find_images, read_photos
from ppsplit.errors import ConfigError
from ppsplit.files import write_bytes_atomically
from ppsplit.runtime.choice import load_part
from ppsplit.wire import Options

REPORT_FILE = "detections.json"


def run(arguments: argparse.Namespace) -> Dict[str, Any]:
    """Everything the command line asks for; returns the report that was written.

    Raises:
        PPSplitError: one of its kinds; nothing is left half written.
        OSError: a result cannot be written.
    """
    bundle = Bundle.open(arguments.bundle)
    job = Job(
        find_images(arguments.input),
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
    paths = find_images(arguments.input)
    if len(paths) > MAX_BATCH:
        raise ConfigError(f"--save-features makes one frame of all {len(paths)} pictures; at most {MAX_BATCH} fit")
    client = _make_split(bundle, arguments, None)
    bar = ProgressBar(1)
    photos = list(read_photos(paths, lambda error: bar.say(f"skipped: {error}")))
    frame, _ = client.make_frame([photo.image_rgb for photo in photos])
    write_bytes_atomically(arguments.save_features, frame)
    return len(frame)


def _options(arguments: argparse.Namespace) -> Options:
    return Options(score_threshold=arguments.score_threshold, max_detections=arguments.max_detections)


def _make_head(bundle: Bundle, arguments: argparse.Namespace) -> Head:
    return Head(
        bundle,
        bundle.cut(arguments.cut),
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
    link = Link(arguments.server, arguments.timeout, retries=arguments.retries)
    if arguments.jpeg is not None:
        return JpegClient(bundle, link, arguments.jpeg, _options(arguments))
    return _make_split(bundle, arguments, link)


def _make_split(bundle: Bundle, arguments: argparse.Namespace, link: Optional[Link]) -> EdgeClient:
    cut = bundle.cut(arguments.cut)
    codec = Codec(bundle, cut, arguments.encoding, arguments.quality, arguments.target_bytes)  # refuses before a load
    return EdgeClient(_make_head(bundle, arguments), link, options=_options(arguments), codec=codec)


def _settings(bundle: Bundle, arguments: argparse.Namespace) -> Dict[str, Any]:
    """How it was done, null where a setting plays no part."""
    whole = arguments.jpeg is not None
    return {
        "bundle": bundle.manifest.name,
        "fingerprint": bundle.manifest.fingerprint,
        "cut": None if whole else bundle.cut(arguments.cut).name,
        "encoding": f"jpeg q{arguments.jpeg}" if whole else None if arguments.local else arguments.encoding,
        "quality": None if whole or arguments.local else arguments.quality,
        "target_bytes": None if whole or arguments.local else arguments.target_bytes,
        "runtime": None if whole else arguments.runtime,
        "precision": None if whole else arguments.precision or bundle.manifest.precision,
        "server": None if arguments.local else arguments.server,
        "batch_size": arguments.batch_size,
        "rounds": arguments.rounds,
    }
