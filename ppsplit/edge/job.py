"""Pictures through a client, whichever way it goes: draw, measure, report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Sequence

from ppsplit.codec import MAX_BATCH
from ppsplit.edge.answer import EdgeResult
from ppsplit.edge.client import Client
from ppsplit.edge.outputs import write_result
from ppsplit.edge.progress import ProgressBar
from ppsplit.edge.report import ImageRecord, build_report
from ppsplit.edge.sources import Photo, in_batches, read_photos
from ppsplit.errors import ConfigError, ImageError, PPSplitError
from ppsplit.files import write_json_atomically


@dataclass(frozen=True)
class Job:
    """What to do with which pictures.

    Attributes:
        paths: the pictures.
        output: folder for drawn pictures, and for raw outputs as .npz.
        report: the JSON file to write.
        draw: whether to draw.
        batch_size: pictures that go together.
        rounds: how often to do everything; times are medians over the rounds.

    Raises:
        ConfigError: no sizes of batches or numbers of rounds.
    """

    paths: Sequence[Path]
    output: Path
    report: Path
    draw: bool = True
    batch_size: int = 1
    rounds: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= MAX_BATCH:
            raise ConfigError(f"batch_size is {self.batch_size}; one message holds 1 to {MAX_BATCH} pictures")
        if self.rounds < 1:
            raise ConfigError(f"rounds is {self.rounds}; expected at least 1")


def check_output(images: Sequence[Path], output: Path) -> None:
    """Raise ConfigError where pictures drawn into `output` would replace those they were made from."""
    if any(path.parent.resolve() == output.resolve() for path in images):
        raise ConfigError(f"the output {output} is where the input lies; drawn pictures would replace it")


def run_job(client: Client, job: Job, settings: Dict[str, Any]) -> Dict[str, Any]:
    """Send every picture through `client`; returns the report that was written.

    Args:
        settings: how it is done, for the top of the report.

    Raises:
        ConfigError: drawn pictures would replace the job's own.
        PPSplitError: as `client` raises it; the report of what was done until then is written, with its "error".
        OSError: a result cannot be written.
    """
    if job.draw:
        check_output(job.paths, job.output)
    class_names = client.bundle.manifest.class_names
    records: Dict[Path, ImageRecord] = {}
    skipped: Dict[str, str] = {}
    try:
        _run_rounds(client, job, records, skipped)
    except PPSplitError as error:
        if records:
            settings = {**settings, "error": str(error)}
            write_json_atomically(
                job.report, build_report(settings, list(records.values()), list(skipped), class_names)
            )
        raise
    report = build_report(settings, list(records.values()), list(skipped), class_names)
    write_json_atomically(job.report, report)
    return report


def _run_rounds(client: Client, job: Job, records: Dict[Path, ImageRecord], skipped: Dict[str, str]) -> None:
    bar = ProgressBar(len(job.paths) * job.rounds)
    try:
        for number in range(job.rounds):
            photos = read_photos(job.paths, lambda error: _skip(error, skipped, bar))
            for batch in in_batches(photos, job.batch_size):
                results = client.infer_batch([photo.image_rgb for photo in batch])
                _keep(records, batch, results)
                if number == 0:
                    _write_results(batch, results, job, client.bundle.manifest.class_names)
                bar.advance(len(batch), batch[-1].path.name)
    finally:
        bar.close()


def _skip(error: ImageError, skipped: Dict[str, str], bar: ProgressBar) -> None:
    message = str(error)
    if message not in skipped:  # once, not in every round
        skipped[message] = message
        bar.say(f"skipped: {message}")
    bar.advance(1, "")


def _keep(records: Dict[Path, ImageRecord], batch: Sequence[Photo], results: Sequence[EdgeResult]) -> None:
    for photo, result in zip(batch, results):
        earlier: List[Dict[str, float]] = records[photo.path].rounds_ms if photo.path in records else []
        records[photo.path] = ImageRecord(str(photo.path), result, [*earlier, result.times_ms])


def _write_results(batch: Sequence[Photo], results: Sequence[EdgeResult], job: Job, class_names: Sequence[str]) -> None:
    for photo, result in zip(batch, results):
        write_result(job.output / photo.path.name, photo.image_rgb, result, class_names, job.draw)
