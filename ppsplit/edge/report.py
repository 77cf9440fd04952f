"""What a run gave, as JSON and as a few lines of text."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

from ppsplit.edge.answer import EdgeResult
from ppsplit.edge.timing import STAGES
from ppsplit.runtime.memory import peak_rss_bytes


@dataclass(frozen=True)
class ImageRecord:
    """One picture's part of the report.

    Attributes:
        image: its path.
        result: of the last round; its detections, or classes.
        rounds_ms: stage times of every round.
    """

    image: str
    result: EdgeResult
    rounds_ms: List[Dict[str, float]]

    def times_ms(self) -> Dict[str, float]:
        """Median over the rounds, by stage."""
        return {stage: _median([round_ms[stage] for round_ms in self.rounds_ms]) for stage in STAGES}

    def to_json(self, class_names: Sequence[str]) -> Dict[str, Any]:
        """JSON-ready; not detections but "classes" for the family "classify", "outputs" (name to shape) for "raw"."""
        result = self.result
        values: Dict[str, Any] = {"image": self.image, "image_hw": list(result.image_hw)}
        if result.detections is not None:
            values["detections"] = result.detections.to_records(class_names)
        if result.classification is not None:
            values["classes"] = result.classification.to_records(class_names)
        if result.outputs is not None:
            values["outputs"] = {name: list(tensor.shape) for name, tensor in result.outputs.items()}
        values.update(
            times_ms=self.times_ms(), payload_bytes=result.payload_bytes, received_bytes=result.received_bytes
        )
        return values


def build_report(
    settings: Dict[str, Any], records: Sequence[ImageRecord], skipped: Sequence[str], class_names: Sequence[str]
) -> Dict[str, Any]:
    """The whole report: `settings` (bundle, cut, encoding, runtime, server), images, summary."""
    images = [record.to_json(class_names) for record in records]
    return {**settings, "images": images, "summary": summarize(images, skipped, peak_rss_bytes())}


def summarize(images: Sequence[Dict[str, Any]], skipped: Sequence[str], peak_bytes: int) -> Dict[str, Any]:
    """The report's "summary" of its "images", which must be one at least, and the most memory that the client had."""
    times = {stage: _median([image["times_ms"][stage] for image in images]) for stage in STAGES}
    times["total"] = _median([sum(image["times_ms"].values()) for image in images])
    payloads = sorted(image["payload_bytes"] for image in images)
    return {
        "images": len(images),
        "skipped": list(skipped),
        "times_ms": times,
        "payload_bytes_mean": round(statistics.mean(payloads), 1),
        "payload_bytes_p95": payloads[-(-95 * len(payloads) // 100) - 1],  # nearest rank: a size that was really sent
        "received_bytes_mean": round(statistics.mean(image["received_bytes"] for image in images), 1),
        "peak_rss_bytes": peak_bytes,
    }


def image_lines(report: Dict[str, Any]) -> List[str]:
    """What was seen, a line a picture."""
    lines = []
    for image in report["images"]:
        found = image.get("detections", image.get("classes", []))
        seen = [f"{d.get('class_name', d['class_id'])} {d['score']:.2f}" for d in found]
        shown = ", ".join(seen[:8]) + (f" and {len(seen) - 8} more" if len(seen) > 8 else "")
        lines.append(f"{image['image']}: {shown or ('raw outputs' if 'outputs' in image else 'nothing')}")
    return lines


def summary_lines(summary: Dict[str, Any]) -> List[str]:
    """The summary as aligned text, one quantity a line, a blank line in front."""
    rows: List[Tuple[str, str]] = [(f"{stage} ms", f"{value:.2f}") for stage, value in summary["times_ms"].items()]
    rows.append(("sent bytes, mean", f"{summary['payload_bytes_mean']:.0f}"))
    rows.append(("sent bytes, p95", f"{summary['payload_bytes_p95']:.0f}"))
    rows.append(("received bytes, mean", f"{summary['received_bytes_mean']:.0f}"))
    rows.append(("peak memory MiB", f"{summary['peak_rss_bytes'] / 2**20:.1f}"))
    title = f"per image, median of {summary['images']}"
    width = max(len(title), *(len(label) for label, _ in rows))
    return ["", f"{title:<{width}}", *(f"{label:<{width}}  {value:>10}" for label, value in rows)]


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 3)
