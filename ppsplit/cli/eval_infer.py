"""`ppsplit eval-infer`: what a split costs, in one table."""

from __future__ import annotations

import datetime
import platform
from pathlib import Path
from typing import Optional, Sequence, Tuple, Union

from ppsplit.bundle import Bundle
from ppsplit.cli.options import Names
from ppsplit.cli.progress import row_progress
from ppsplit.cli.tables import print_table
from ppsplit.cloud.ray_cluster import prepare_ray
from ppsplit.data.class_folder import ClassFolder
from ppsplit.data.coco import CocoSet
from ppsplit.decode import CLASSIFY
from ppsplit.errors import ConfigError
from ppsplit.evaluate.bit_error_plot import plot_bit_errors
from ppsplit.evaluate.bit_errors import bit_error_table
from ppsplit.evaluate.class_table import class_table
from ppsplit.evaluate.plot import plot_against_bytes
from ppsplit.evaluate.split_table import Measure, split_table

BOX_MEASURES, CLASS_MEASURES = ("ap", "ap50"), ("top1", "top5")
LABELS = {"ap": "AP (IoU .50:.95)", "top1": "top-1 accuracy"}


def eval_infer(
    images: Path,
    data: Optional[Path] = None,
    bundle: Path = Path("freezed/yolov3_tiny-split"),
    rows: Names = [],  # noqa: B006  only read
    limit: Optional[int] = None,
    threads: int = 1,
    bit_error_rate: Names = [],  # noqa: B006  only read
    json: Path = Path("output/eval.json"),
    plot: Path = Path("output/eval.png"),
    ray: bool = False,
    ray_address: Optional[str] = None,
) -> None:
    """Measure AP (or top-1 and top-5), bytes, milliseconds and memory of every way a photo can go, for real.

    Args:
        images: The folder with the images; for a classifier, with a subfolder for each class.
        data: Annotations of the images, in COCO's format; for detectors.
        bundle: The bundle to measure.
        rows: Only these rows, by name or the beginning of it, such as split or jpeg/q75.
        limit: Only so many images.
        threads: Threads of each half's runtime.
        bit_error_rate: Instead of that table, what a channel costs that flips bits, at these rates, such as 1e-5,1e-4:
            AP with the checksum off, and bytes with it on and damaged messages sent again.
        json: Where to write the table.
        plot: Where to draw AP against bytes.
        ray: Deal the images out over a Ray cluster, by default one of this machine's own; `make ray` installs Ray.
        ray_address: With --ray, a cluster that runs; auto for the one this machine belongs to.
    """
    labelled = _labelled(Bundle.open(bundle), images, data)
    if bit_error_rate:
        if ray:
            raise ConfigError("--bit-error-rate runs in one process; leave --ray out")
        measure_bit_errors(Bundle.open(bundle), labelled, rows, limit, bit_error_rate, json, plot)
    else:
        measure(bundle, labelled, rows, limit, threads, json, plot, shards=_shards(ray_address) if ray else None)


def _shards(address: Optional[str]) -> Measure:
    prepare_ray(address)
    from ppsplit.evaluate.ray_shards import Shards  # brings Ray

    return Shards(address)


def _labelled(bundle: Bundle, images: Path, data: Optional[Path]) -> Union[CocoSet, ClassFolder]:
    manifest = bundle.manifest
    if manifest.decode.family == CLASSIFY:
        if data is not None:
            raise ConfigError(
                f"{manifest.name} is a classifier: its --images is a folder with a subfolder for each class, and there "
                "are no annotations; leave --data out"
            )
        return ClassFolder.open(images, manifest.class_names, int(manifest.decode.params["num_classes"]))
    if data is None:
        raise ConfigError(f"{manifest.name} is a detector: give annotations in COCO's format with --data")
    return CocoSet.open(data, images)


def measure(
    bundle: Path,
    labelled: Union[CocoSet, ClassFolder],
    rows: Sequence[str],
    limit: Optional[int],
    threads: int,
    json: Path,
    plot: Path,
    command: str = "",
    shards: Optional[Measure] = None,
) -> None:
    """Measure, print, write and draw the table; `command` is noted as what made it."""
    opened = Bundle.open(bundle)
    labelled = labelled.first(limit) if limit is not None else labelled
    with row_progress() as progress:
        if isinstance(labelled, ClassFolder):
            measures, results = CLASS_MEASURES, class_table(opened, labelled, rows, threads, progress, shards)
        else:
            measures, results = BOX_MEASURES, split_table(opened, labelled, rows, threads, progress, shards)
    about = {
        "command": command or ("ppsplit eval-infer --ray" if shards else "ppsplit eval-infer"),
        "model": opened.manifest.model,
        "images": len(labelled.images),
        "cpu": cpu_name(),
        "threads": threads,
        "date": datetime.date.today().isoformat(),
    }
    title = f"{opened.manifest.model} on {len(labelled.images)} images"
    print_table(results, _columns(measures), title=title, json_path=json, about=about)
    plot_against_bytes(results, plot, measures[0], LABELS[measures[0]])
    print(f"table {json}, plot {plot}")


def measure_bit_errors(
    bundle: Bundle,
    labelled: Union[CocoSet, ClassFolder],
    rows: Sequence[str],
    limit: Optional[int],
    rates: Sequence[str],
    json: Path,
    plot: Path,
) -> None:
    """Print, write and draw `bit_error_table` of the bundle's first cut."""
    if rows or not isinstance(labelled, CocoSet):
        raise ConfigError("--bit-error-rate has rows of its own, and is for detectors; leave --rows out")
    try:
        numbers = [float(rate) for rate in rates]
    except ValueError as error:
        raise ConfigError(f"--bit-error-rate takes numbers such as 1e-5,1e-4; got {','.join(rates)!r}") from error
    labelled = labelled.first(limit) if limit is not None else labelled
    with row_progress() as progress:
        table = bit_error_table(bundle, bundle.cut(), labelled, numbers, progress)
    about = {
        "command": f"ppsplit eval-infer --bit-error-rate {','.join(rates)}",
        "model": bundle.manifest.model,
        "cut": bundle.cut().name,
        "images": len(labelled.images),
        "date": datetime.date.today().isoformat(),
    }
    print_table(table, title=f"{bundle.manifest.model} over a channel that flips bits", json_path=json, about=about)
    plot_bit_errors(table, plot)
    print(f"table {json}, plot {plot}")


def _columns(measures: Tuple[str, str]) -> Tuple[str, ...]:
    """What fits a screen; the JSON holds all."""
    return (
        *("name", "edge_macs_share", *measures, "payload_bytes", "payload_bytes_p95", "head_ms", "encode_ms"),
        *("network_ms", "tail_ms", "decode_ms", "total_ms", "edge_peak_rss_mib"),
    )


def cpu_name() -> str:
    """The CPU's name, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
