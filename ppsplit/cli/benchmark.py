"""`ppsplit benchmark`: every installed runtime on every half of a bundle, in one run."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Optional

from ppsplit.bundle import Bundle
from ppsplit.cli.eval_infer import cpu_name
from ppsplit.cli.options import Names
from ppsplit.cli.progress import row_progress
from ppsplit.cli.tables import print_table
from ppsplit.data.sample_photos import sample_photos
from ppsplit.errors import ConfigError
from ppsplit.evaluate.benchmark import benchmark_rows
from ppsplit.image import list_images, read_image, to_input
from ppsplit.runtime.threads import check_threads

PHOTOS = 4
COLUMNS = (
    *("cut", "part", "runtime", "precision", "status", "bytes", "ms_median", "ms_p95", "peak_mib", "max_error"),
    "max_relative_error",
)


def benchmark(
    bundle: Path,
    /,
    cut: Names = [],  # noqa: B006  only read
    runs: int = 20,
    threads: int = 1,
    json: Path = Path("output/benchmark.json"),
    images: Optional[Path] = None,
) -> None:
    """Time every runtime that is installed on the whole network and on both halves of each cut.

    A runtime that is not installed, or cannot take a half, is a row that says why.

    Args:
        bundle: The bundle.
        cut: Only these cuts; by default all.
        runs: How often each program is timed; those of a half take turns, so that what else runs slows down all.
        threads: Threads of each runtime.
        json: Where to write the figures.
        images: Folder of photos for the errors against Paddle's fp32, four are used; by default the packaged ones.
    """
    check_threads(threads)
    if runs < 1:
        raise ConfigError(f"--runs is {runs}; expected at least 1")
    opened = Bundle.open(bundle)
    photos = list_images(images) if images is not None else sample_photos()
    inputs = [to_input(read_image(photo), opened.manifest.preprocess)[0] for photo in photos[:PHOTOS]]
    with row_progress() as progress:
        rows = benchmark_rows(opened, cut, inputs, runs, threads, progress)
    about = {
        "command": "ppsplit benchmark",
        "model": opened.manifest.model,
        "bundle": opened.manifest.name,
        "fingerprint": opened.manifest.fingerprint[:12],
        "cpu": cpu_name(),
        "runs": runs,
        "threads": threads,
        "date": datetime.date.today().isoformat(),
    }
    print_table(rows, COLUMNS, title=f"runtimes on {opened.manifest.name}", json_path=json, about=about)
    print(f"figures {json}")
