"""What pipelining and adaptation do for a stream: a real bundle, a real server, a link with latency and a rate.

Run it as `python benchmarks/edge_pipeline.py --bundle BUNDLE`; `--help` explains the rest.
"""

from __future__ import annotations

import datetime
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Literal, Optional, Sequence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.slow_link import SlowLink  # noqa: E402
from ppsplit.bundle import TAIL, Bundle  # noqa: E402
from ppsplit.cli import run_script  # noqa: E402
from ppsplit.cli.eval_infer import cpu_name  # noqa: E402
from ppsplit.cli.progress import row_progress  # noqa: E402
from ppsplit.cli.tables import print_table, write_table  # noqa: E402
from ppsplit.data.sample_photos import sample_photos  # noqa: E402
from ppsplit.edge.adapt import AdaptivePolicy  # noqa: E402
from ppsplit.edge.frames import Frame, Source  # noqa: E402
from ppsplit.edge.head import Head  # noqa: E402
from ppsplit.edge.link import Link  # noqa: E402
from ppsplit.edge.points import adaptive_points, make_point  # noqa: E402
from ppsplit.edge.stream import StreamAnswer, StreamClient  # noqa: E402
from ppsplit.evaluate.processes import running_server  # noqa: E402
from ppsplit.image import list_images, read_image  # noqa: E402
from ppsplit.runtime.choice import load_part  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "edge_pipeline.json"
COMMAND = "python benchmarks/edge_pipeline.py --bundle BUNDLE"
ONE_WAY_MS = (0.0, 20.0, 50.0)
DEPTHS = (1, 2, 4)
PATIENT_MS = 30_000.0
DEFAULT_BUNDLE = ROOT / "freezed" / "yolov3_tiny-split"
# bytes a second: some LTE, a bad cell, a worse one, GPRS, and LTE again
RATES = (1_250_000.0, 125_000.0, 40_000.0, 8_000.0, 1_250_000.0)
PHASE_S = 15.0
TARGET_MS, DEADLINE_MS, FRAMES_PER_S = 800.0, 1500.0, 2.0


class Photos(Source):
    """Photos over and over, at a camera's pace where one is given."""

    def __init__(self, images: Sequence[Any], count: int, frames_per_s: Optional[float] = None) -> None:
        self._images, self.count, self.frames_per_s = images, count, frames_per_s
        self.live = frames_per_s is not None

    def frames(self) -> Iterator[Frame]:
        start = time.monotonic()
        for index in range(self.count or 0):
            if self.frames_per_s is not None:
                time.sleep(max(0.0, start + index / self.frames_per_s - time.monotonic()))
            yield Frame(str(index), self._images[index % len(self._images)])


def edge_pipeline(
    bundle: Path = DEFAULT_BUNDLE,
    images: Optional[Path] = None,
    runtime: Literal["lite", "paddle", "onnx", "openvino"] = "lite",
    frames: int = 60,
    json: Path = RESULTS,
) -> None:
    """Measure frames a second with 1, 2 and 4 frames in work, and answers in time while the link gets worse.

    Args:
        bundle: A bundle with a tail for the runtime (export-split --with-tail); calibrated, for more points.
        images: Photos; by default those that come with two packages.
        runtime: For the head and the tail on the edge.
        frames: Of every row of the first table.
        json: Where to write both tables.
    """
    opened = Bundle.open(bundle)
    pictures = [read_image(path) for path in (list_images(images)[:16] if images else sample_photos())]
    about = {"command": COMMAND, "cpu": cpu_name(), "threads": 1, "date": datetime.date.today().isoformat()}
    about.update({"bundle": opened.manifest.name, "model": opened.manifest.model, "runtime": runtime})
    rows: List[Dict[str, Any]] = []
    with running_server(bundle) as url, SlowLink(int(url.rpartition(":")[2])) as link, row_progress() as progress:
        cases = [(one_way_ms, depth) for one_way_ms in ONE_WAY_MS for depth in DEPTHS]
        for number, (one_way_ms, depth) in enumerate(cases, 1):
            progress(f"{one_way_ms:g} ms, {depth} in work", number, len(cases) + 2)
            link.latency_ms = one_way_ms
            rows.append(_throughput(opened, link, runtime, pictures, frames, depth))
        link.latency_ms = 20.0
        adapted: List[Dict[str, Any]] = []
        for adaptive in (False, True):
            progress("adaptive" if adaptive else "fixed", len(cases) + 1 + adaptive, len(cases) + 2)
            adapted += _while_it_gets_worse(opened, link, runtime, pictures, adaptive)
    write_table(json.with_name(f"{json.stem}_adaptation.json"), adapted, about)
    print_table(rows, title="frames a second by frames in work", json_path=json, about=about)
    title = f"answers in {DEADLINE_MS:g} ms while the link changes (target {TARGET_MS:g} ms)"
    print_table(adapted, title=title, json_path=json.with_name(f"{json.stem}_adaptation.json"), about=about)


def _throughput(
    bundle: Bundle, link: SlowLink, runtime: str, pictures: Sequence[Any], frames: int, depth: int
) -> Dict[str, Any]:
    head = Head(bundle, bundle.cut(), runtime)
    points = [make_point(bundle, head, "uint8")]
    with StreamClient(points, _link(bundle, link, depth), {}, deadline_ms=PATIENT_MS, depth=depth) as client:
        list(client.stream(Photos(pictures, 5)))  # connections and caches
        start = time.monotonic()
        answers = list(client.stream(Photos(pictures, frames)))
        elapsed_s = time.monotonic() - start
    assert {answer.result.origin for answer in answers} == {"cloud"}, "a row of answers that are not the cloud's"
    stages = {stage: statistics.median(a.result.times_ms[stage] for a in answers) for stage in ("head", "encode")}
    return {
        "one_way_ms": link.latency_ms,
        "in_work": depth,
        "frames_per_s": round(frames / elapsed_s, 2),
        "latency_ms_p50": _percentile(answers, 50),
        "latency_ms_p95": _percentile(answers, 95),
        **{f"{stage}_ms": round(value, 1) for stage, value in stages.items()},
    }


def _while_it_gets_worse(
    bundle: Bundle, link: SlowLink, runtime: str, pictures: Sequence[Any], adaptive: bool
) -> List[Dict[str, Any]]:
    heads = [Head(bundle, cut, runtime) for cut in (bundle.manifest.cuts if adaptive else bundle.manifest.cuts[:1])]
    points = adaptive_points(bundle, heads) if adaptive else [make_point(bundle, heads[0], "uint8")]
    policy = None
    if adaptive:
        policy = AdaptivePolicy([p.name for p in points], [p.expected_bytes for p in points], TARGET_MS)
    tails = {head.cut.name: load_part(bundle, head.cut, TAIL, runtime) for head in heads}
    phases: List[List[StreamAnswer]] = [[] for _ in RATES]
    with StreamClient(points, _link(bundle, link, 2), tails, deadline_ms=DEADLINE_MS, policy=policy) as client:
        link.bytes_per_s = RATES[0]
        list(client.stream(Photos(pictures, 5)))
        start = time.monotonic()
        for answer in client.stream(Photos(pictures, round(len(RATES) * PHASE_S * FRAMES_PER_S), FRAMES_PER_S)):
            phase = min(int((time.monotonic() - start) / PHASE_S), len(RATES) - 1)
            link.bytes_per_s = RATES[phase]
            phases[phase].append(answer)
    link.bytes_per_s = 0.0
    return [_phase("adaptive" if adaptive else "fixed", rate, seen) for rate, seen in zip(RATES, phases)]


def _phase(way: str, rate: float, answers: Sequence[StreamAnswer]) -> Dict[str, Any]:
    origins = [answer.result.origin for answer in answers]
    cloud = [answer for answer in answers if answer.result.origin == "cloud"]
    return {
        "way": way,
        "kbit_per_s": round(rate * 8 / 1000),
        "frames": len(answers),
        **{origin: origins.count(origin) for origin in ("cloud", "edge", "stale")},
        "latency_ms_p50": _percentile(answers, 50),
        "latency_ms_max": _percentile(answers, 100),
        "sent_bytes_mean": round(statistics.mean(a.result.payload_bytes for a in cloud)) if cloud else 0,
        "last_point": answers[-1].point if answers else "",
    }


def _percentile(answers: Sequence[StreamAnswer], percent: int) -> float:
    """By nearest rank."""
    ordered = sorted(answer.latency_ms for answer in answers)
    return round(ordered[-(-percent * len(ordered) // 100) - 1], 1) if ordered else 0.0


def _link(bundle: Bundle, link: SlowLink, depth: int) -> Link:
    return Link(link.url, fail_fast=True, connections=depth + 1, fingerprint=bundle.manifest.fingerprint)


if __name__ == "__main__":
    sys.exit(run_script(edge_pipeline, sys.argv[1:], Path(__file__).name))
