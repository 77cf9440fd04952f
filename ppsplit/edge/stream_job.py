"""A stream through its client into its outputs, and what is to be said of it at the end."""

from __future__ import annotations

import collections
import contextlib
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Counter, Deque, Dict, List, Sequence

from ppsplit.edge.frames import Source
from ppsplit.edge.outputs import Output
from ppsplit.edge.progress import ProgressBar
from ppsplit.edge.stream import StreamAnswer, StreamClient
from ppsplit.files import write_json_atomically
from ppsplit.runtime.memory import peak_rss_bytes

KEPT_LATENCIES = 100_000  # a camera may run for weeks


@dataclass
class StreamSummary:
    """Counts of a stream's answers."""

    frames: int = 0
    dropped: int = 0
    payload_bytes: int = 0
    origins: Counter[str] = field(default_factory=collections.Counter)
    reasons: Counter[str] = field(default_factory=collections.Counter)
    points: Counter[str] = field(default_factory=collections.Counter)
    latencies_ms: Deque[float] = field(default_factory=lambda: collections.deque(maxlen=KEPT_LATENCIES))

    def add(self, answer: StreamAnswer) -> None:
        """Count one."""
        self.frames += 1
        self.dropped = answer.dropped
        self.payload_bytes += answer.result.payload_bytes
        self.origins[answer.result.origin] += 1
        self.points[answer.point] += 1
        self.latencies_ms.append(answer.latency_ms)
        if answer.result.degraded_reason is not None:
            self.reasons[answer.result.degraded_reason] += 1

    def to_json(self, elapsed_s: float) -> Dict[str, Any]:
        """JSON-ready, with the latencies' percentiles (nearest rank)."""
        ordered = sorted(self.latencies_ms)
        share = {f"p{percent}": ordered[-(-percent * len(ordered) // 100) - 1] for percent in (50, 95, 99) if ordered}
        return {
            "frames": self.frames,
            "dropped": self.dropped,
            "frames_per_s": round(self.frames / elapsed_s, 2) if elapsed_s else 0.0,
            "origins": dict(self.origins),
            "degraded_reasons": dict(self.reasons),
            "points": dict(self.points),
            "latency_ms": {name: round(value, 1) for name, value in share.items()},
            "latency_ms_mean": round(statistics.mean(ordered), 1) if ordered else 0.0,
            "payload_bytes_mean": round(self.payload_bytes / max(1, self.origins["cloud"]), 1),
            "peak_rss_bytes": peak_rss_bytes(),
        }


def run_stream(
    client: StreamClient,
    source: Source,
    outputs: Sequence[Output],
    report: Path,
    settings: Dict[str, Any],
    skipped: List[str],
) -> Dict[str, Any]:
    """Take every answer to every output; returns the report that was written. Ctrl-C ends it as the source's end does.

    Args:
        report: the JSON file to write.
        settings: how it is done, for the top of the report.
        skipped: what could not be read; filled while the stream runs.

    Raises:
        PPSplitError: the source or the head failed; outputs and report hold what was done until then.
        OSError: a result cannot be written.
    """
    summary, start = StreamSummary(), time.monotonic()
    bar = ProgressBar(source.count or 0)

    def told() -> Dict[str, Any]:
        return {**settings, "summary": {**summary.to_json(elapsed_s), "skipped": list(skipped)}}

    with contextlib.ExitStack() as endings:  # each of them, whatever becomes of the others
        endings.callback(lambda: write_json_atomically(report, told()))
        for output in outputs:
            endings.callback(output.close)
        endings.callback(bar.close)
        try:
            with contextlib.suppress(KeyboardInterrupt):
                for answer in client.stream(source):
                    summary.add(answer)
                    for output in outputs:
                        output.write(answer)
                    bar.advance(1, f"{answer.frame.name} {answer.result.origin}")
        finally:
            elapsed_s = time.monotonic() - start
    return told()


def stream_lines(summary: Dict[str, Any]) -> List[str]:
    """The summary as aligned text."""
    counts = ", ".join(f"{name} {count}" for name, count in summary["origins"].items()) or "none"
    rows = [("frames", f"{summary['frames']} ({summary['frames_per_s']:g} a second), {summary['dropped']} dropped")]
    rows.append(("answers from", counts))
    for key, label in (("degraded_reasons", "degraded by"), ("points", "sent as")):
        if summary[key]:
            rows.append((label, ", ".join(f"{name} {count}" for name, count in summary[key].items())))
    if summary["skipped"]:
        rows.append(("skipped", f"{len(summary['skipped'])} that cannot be read, told in the report"))
    rows.append(("latency ms", ", ".join(f"{name} {value:.0f}" for name, value in summary["latency_ms"].items())))
    rows.append(("sent bytes, mean", f"{summary['payload_bytes_mean']:.0f}"))
    rows.append(("peak memory MiB", f"{summary['peak_rss_bytes'] / 2**20:.1f}"))
    return [f"{label:<18}{value}" for label, value in rows]
