"""The rows of a table measured over a Ray cluster: the images dealt out in shards, and the reports put together again.

A shard is measured by the very function that measures a whole set, with a server and clients of its own beside it.
Bundle and images travel with it, so no machine needs them in a folder. Imported with --ray alone.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import ray
from ray.exceptions import RayError, RayTaskError

from ppsplit.bundle import Bundle
from ppsplit.cloud.ray_cluster import cluster
from ppsplit.edge.report import summarize
from ppsplit.errors import InferenceRuntimeError, PPSplitError
from ppsplit.evaluate.rows import Row
from ppsplit.evaluate.split_table import Progress, measured

Reports = List[Tuple[Row, Dict[str, Any]]]
TRIES = 3  # of a shard whose process or machine was lost


@dataclass(frozen=True)
class Shards:
    """In place of `split_table.measured`: the same rows and reports, from many processes or machines at once.

    The stages' times are of shards that ran side by side, and memory is that of the largest client.

    Attributes:
        address: of a running cluster; None for one of this process's own, see `ray_cluster.cluster`.
        most: the most shards at once on a cluster of our own; None for as many as it has CPUs.
    """

    address: Optional[str] = None
    most: Optional[int] = None

    def __call__(
        self,
        bundle: Bundle,
        folder: Path,
        wanted: Sequence[str],
        threads: int,
        options: Sequence[str],
        progress: Progress,
    ) -> Iterator[Tuple[Row, Dict[str, Any]]]:
        """As `measured`; `progress` is told of shards, not of rows.

        Raises:
            ConfigError: there is no such cluster.
            PPSplitError: a half failed.
        """
        images = sorted(folder.iterdir())
        with cluster(self.address, (self.most or 1) * threads):
            cpus = ray.cluster_resources().get("CPU", 1.0)
            count = max(1, min(len(images), self.most or int(cpus // threads)))
            task = ray.remote(num_cpus=threads, max_retries=TRIES - 1)(measure_shard)
            program = ray.put(_read(bundle.root))
            waiting = [
                task.remote(program, {path.name: path.read_bytes() for path in images[start::count]}, *arguments)
                for start, arguments in ((start, (list(wanted), threads, list(options))) for start in range(count))
            ]
            shards = _gathered(waiting, progress)
        yield from merged(shards)


def measure_shard(
    bundle_files: Dict[str, bytes],
    images: Dict[str, bytes],
    wanted: Sequence[str],
    threads: int,
    options: Sequence[str],
) -> Reports:
    """`measured` in a process of the cluster.

    Args:
        bundle_files: contents by path within the bundle.
        images: contents by name.
    """
    with tempfile.TemporaryDirectory() as scratch:
        root, folder = Path(scratch) / "bundle", Path(scratch) / "images"
        for base, files in ((root, bundle_files), (folder, images)):
            for name, content in files.items():
                (base / name).parent.mkdir(parents=True, exist_ok=True)
                (base / name).write_bytes(content)
        return list(measured(Bundle.open(root), folder, wanted, threads, options, lambda name, number, total: None))


def merged(shards: Sequence[Reports]) -> Reports:
    """One report a row, as if all the images had gone through one client, ordered by their names.

    Args:
        shards: of each the same rows in the same order, with at least one image.
    """
    rows: Reports = []
    for parts in zip(*shards):
        row, first = parts[0]
        reports = [report for _, report in parts]
        images = sorted(
            (image for report in reports for image in report["images"]), key=lambda i: Path(i["image"]).name
        )
        skipped = [path for report in reports for path in report["summary"]["skipped"]]
        peak_rss_bytes = max(report["summary"]["peak_rss_bytes"] for report in reports)
        rows.append((row, {**first, "images": images, "summary": summarize(images, skipped, peak_rss_bytes)}))
    return rows


def _gathered(waiting: Sequence[Any], progress: Progress) -> List[Reports]:
    """The shards' reports in order, when all are there."""
    left = list(waiting)
    try:
        while left:
            progress("shards", len(waiting) - len(left) + 1, len(waiting))
            done, left = ray.wait(left)
            ray.get(done)  # a shard that failed is told at once
        found: List[Reports] = ray.get(list(waiting))
    except RayTaskError as error:
        if isinstance(error.cause, PPSplitError):
            raise error.cause from None
        raise
    except RayError as error:
        raise InferenceRuntimeError(
            f"a shard was lost {TRIES} times ({error}); see `ray status` and the machines' memory"
        ) from error
    return found


def _read(root: Path) -> Dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
