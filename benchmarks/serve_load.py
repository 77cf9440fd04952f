"""The cloud half under load: throughput of batches, what a request costs beside the network, and twice its capacity.

Run it as `python benchmarks/serve_load.py --help`. Real servers, real sockets, frames of real photos; the load comes
from a process of its own (`load_client.py`) on the same machine, whose time counts against the server's.
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import os
import statistics
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks.load_setup import Server, answers_of, running, start_client, write_frames  # noqa: E402
from ppsplit.bundle import Bundle  # noqa: E402
from ppsplit.cli import run_script  # noqa: E402
from ppsplit.cli.eval_infer import cpu_name  # noqa: E402
from ppsplit.cli.progress import step_progress  # noqa: E402
from ppsplit.cli.tables import print_table  # noqa: E402
from ppsplit.data.sample_photos import sample_photos  # noqa: E402
from ppsplit.image import list_images  # noqa: E402
from ppsplit.runtime.compute import BF16_FLAGS, cpu_flags  # noqa: E402

COMMAND = "python benchmarks/serve_load.py --bundle BUNDLE"
RESULTS = ROOT / "benchmarks" / "results"
WARM_UP_SHARE = 0.1
Answers = List[Dict[str, Any]]
Show = Callable[[str], None]


def serve_load(
    bundle: Path = Path("freezed/yolov3_tiny-split"),
    images: Optional[Path] = None,
    encoding: str = "uint8",
    threads: int = 2,
    max_batch: int = 4,
    max_requests: int = 8,
    connections: int = 12,
    seconds: float = 10.0,
    rounds: int = 3,
    soak_seconds: float = 600.0,
    json: Optional[Path] = None,
) -> None:
    """Measure the cloud half of a bundle under load.

    Args:
        bundle: The bundle to serve.
        images: Folder of photos; by default the samples that come with the packages.
        encoding: Of the frames.
        threads: Of the network's runtime, in every server.
        max_batch: Of the servers that batch.
        max_requests: Of the server that is soaked. It bounds how long anybody waits: one batch running, one waiting.
        connections: That ask at once where throughput is measured.
        seconds: Of each measurement of throughput and of overhead.
        rounds: How often throughput is measured, the servers in turns.
        soak_seconds: At twice the capacity; a third as long at half of it before.
        json: Where to write the figures; by default benchmarks/results/MODEL_serve_load.json.
    """
    opened = Bundle.open(bundle)
    photos = list_images(images)[:16] if images is not None else sample_photos()
    bf16 = bool(cpu_flags().intersection(BF16_FLAGS))
    single = ("--threads", str(threads), "--max-batch", "1")
    batched = ("--threads", str(threads), "--max-batch", str(max_batch))
    ways: Dict[str, Tuple[Tuple[str, ...], int]] = {
        "one at a time": (single, 1),
        "many, not batched": (single, connections),
        "batched": (batched, connections),
    }
    spread = ("--threads", "1", "--workers", str(threads), "--max-batch", str(max_batch))
    ways["batched, workers of one thread"] = (spread, connections)
    if bf16:
        ways["the same in bf16"] = ((*spread, "--precision", "bf16"), connections)
    with tempfile.TemporaryDirectory() as folder, step_progress(len(ways) * rounds + 3) as show:
        frames = Path(folder)
        frame_bytes, encode_ms = write_frames(opened, photos, encoding, frames)
        throughput = _throughput(bundle, frames, ways, seconds, rounds, show)
        with running(bundle, *single) as server:
            show("overhead")
            overhead = _overhead(answers_of(start_client(server, frames, seconds, "closed", 1)), encode_ms)
        with running(bundle, *batched, "--max-requests", str(max_requests)) as server:
            soak = _soak(server, frames, max_requests, seconds, soak_seconds, show)
    about = {
        "command": COMMAND,
        "model": opened.manifest.model,
        "cut": opened.cut().name,
        "encoding": encoding,
        "frame_bytes": frame_bytes,
        "encode_ms": round(encode_ms, 3),
        "threads": threads,
        "max_batch": max_batch,
        "max_requests": max_requests,
        "connections": connections,
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "date": datetime.date.today().isoformat(),
        "overhead": overhead,
        "soak": soak,
    }
    path = json or RESULTS / f"{opened.manifest.model}_serve_load.json"
    print_table(throughput, title="throughput", json_path=path, about=about)
    print_table([overhead], title="beside the network and the two programs")
    print_table([soak["half"], soak["double"]], title="at half and at twice the capacity")
    print(path)


def _throughput(
    bundle: Path, frames: Path, ways: Dict[str, Tuple[Tuple[str, ...], int]], seconds: float, rounds: int, show: Show
) -> List[Dict[str, Any]]:
    """Images a second of each way, the ways in turns; each against the first in the same round."""
    rates: Dict[str, List[float]] = {name: [] for name in ways}
    latencies: Dict[str, List[float]] = {name: [] for name in ways}
    cpu_ms: Dict[str, List[float]] = {name: [] for name in ways}
    with contextlib.ExitStack() as stack:
        servers = {options: running(bundle, *options) for options, _ in ways.values()}
        opened = {options: stack.enter_context(server) for options, server in servers.items()}
        for number in range(rounds):
            for name, (options, connections) in ways.items():
                show(f"{name}, {number + 1} of {rounds}")
                cpu_s = opened[options].cpu_s()
                answers = answers_of(start_client(opened[options], frames, seconds, "closed", connections))
                cpu_ms[name].append((opened[options].cpu_s() - cpu_s) * 1000 / len(answers))
                right = _after_warm_up(answers, seconds)
                rates[name].append(len(right) / (seconds * (1 - WARM_UP_SHARE)))
                latencies[name] += [answer["latency_ms"] for answer in right]
    first = next(iter(ways))
    return [
        {
            "way": name,
            "connections": ways[name][1],
            "images_per_s": round(statistics.median(rates[name]), 2),
            "times_first": round(statistics.median(a / b for a, b in zip(rates[name], rates[first])), 3),
            "rounds": " ".join(f"{rate:.1f}" for rate in rates[name]),
            "server_cpu_ms_per_image": round(statistics.median(cpu_ms[name]), 2),
            "p50_ms": _percentile(latencies[name], 50),
            "p99_ms": _percentile(latencies[name], 99),
        }
        for name in ways
    ]


def _overhead(answers: Answers, encode_ms: float) -> Dict[str, Any]:
    """What of a request is neither program: round trip over loopback less the tail's run, and the edge's encoding."""
    right = [answer for answer in answers if answer["status"] == 200][5:]
    beside = [answer["latency_ms"] - answer["times_ms"]["tail"] for answer in right]
    stages = {
        f"{stage}_ms": round(statistics.median(answer["times_ms"][stage] for answer in right), 3)
        for stage in ("decode_features", "queue", "tail", "decode")
    }
    return {
        "requests": len(right),
        "overhead_p50_ms": round(encode_ms + statistics.median(beside), 3),
        "of_it_encode_ms": round(encode_ms, 3),
        "of_it_round_trip_p50_ms": round(statistics.median(beside), 3),
        **stages,
    }


def _soak(
    server: Server, frames: Path, max_requests: int, seconds: float, soak_seconds: float, show: Show
) -> Dict[str, Any]:
    """Capacity, then half of it, then twice of it for long."""
    show("capacity")
    closed = answers_of(start_client(server, frames, seconds, "closed", max_requests))
    capacity = len(_after_warm_up(closed, seconds)) / (seconds * (1 - WARM_UP_SHARE))
    show("half the capacity")
    half = answers_of(start_client(server, frames, max(seconds, soak_seconds / 3), "open", capacity / 2))
    show("twice the capacity")
    rss_mib: List[float] = []
    client = start_client(server, frames, soak_seconds, "open", capacity * 2)
    ended = threading.Event()
    sampler = threading.Thread(target=_sample_rss, args=(server, rss_mib, ended))
    sampler.start()
    try:
        double = answers_of(client)
    finally:
        ended.set()
        sampler.join()
    rows = {"half": _summary("half", half), "double": _summary("double", double)}
    tenth = max(1, len(rss_mib) // 10)
    early, late = rss_mib[tenth : 2 * tenth] or rss_mib[:1], rss_mib[-tenth:]
    return {
        "capacity_images_per_s": round(capacity, 2),
        "seconds": soak_seconds,
        **rows,
        "p99_accepted_double_over_half": round(rows["double"]["ok_p99_ms"] / rows["half"]["ok_p99_ms"], 3),
        "rss_mib_early": round(statistics.mean(early), 1),
        "rss_mib_late": round(statistics.mean(late), 1),
        "rss_growth": round(statistics.mean(late) / statistics.mean(early) - 1, 4),
        "rss_mib": [round(value, 1) for value in rss_mib[:: max(1, len(rss_mib) // 120)]],
    }


def _sample_rss(server: Server, rss_mib: List[float], ended: threading.Event) -> None:
    while not ended.wait(0.5):
        rss_mib.append(server.rss_mib())


def _summary(load: str, answers: Answers) -> Dict[str, Any]:
    right = [answer["latency_ms"] for answer in answers if answer["status"] == 200]
    refused = [answer for answer in answers if answer["status"] in (429, 503)]
    refused_ms = [answer["latency_ms"] for answer in refused]
    lost = collections.Counter(answer["code"] for answer in answers if answer["status"] not in (200, 429, 503))
    return {
        "load": load,
        "requests": len(answers),
        "ok": len(right),
        "refused": len(refused),
        "lost": sum(lost.values()),
        "lost_why": ", ".join(f"{code} {count}" for code, count in lost.items()),
        "without_retry_after": sum(not answer["retry_after"] for answer in refused),
        "ok_p50_ms": _percentile(right, 50),
        "ok_p99_ms": _percentile(right, 99),
        "refused_p50_ms": _percentile(refused_ms, 50),
        "refused_p99_ms": _percentile(refused_ms, 99),
        "refused_within_50_ms": round(float(np.mean(np.array(refused_ms) < 50)), 4) if refused_ms else None,
    }


def _after_warm_up(answers: Answers, seconds: float) -> Answers:
    """Right answers to what was sent after the first tenth and came within the time."""
    return [
        answer
        for answer in answers
        if answer["status"] == 200
        and answer["due_s"] >= seconds * WARM_UP_SHARE
        and answer["due_s"] + answer["latency_ms"] / 1000 <= seconds
    ]


def _percentile(values: Sequence[float], percent: float) -> Optional[float]:
    return round(float(np.percentile(values, percent)), 2) if values else None


if __name__ == "__main__":
    sys.exit(run_script(serve_load, sys.argv[1:], "benchmarks/serve_load.py"))
