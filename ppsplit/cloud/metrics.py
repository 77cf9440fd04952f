"""What Prometheus is told. One registry for each server; nothing global."""

from __future__ import annotations

from typing import Callable, Dict

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
IMAGES = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)
OK = "ok"


class Metrics:
    """Counters and histograms; every method may be called from any thread.

    Args:
        waiting: how many requests are taken on now.
        bundles: how many bundles are held now.
    """

    def __init__(self, waiting: Callable[[], float], bundles: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = self._counter("requests", "Requests by route and outcome: ok, or a refusal's code", "route")
        self._bytes = self._counter("bytes", "Bytes of bodies", "direction", outcome=False)
        self._latency = Histogram(
            "ppsplit_request_seconds",
            "From a request read to its answer",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._stages = Histogram(
            "ppsplit_stage_seconds",
            "Stages of inference that succeeded",
            ["stage"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._batch = Histogram("ppsplit_batch_images", "Images run together", buckets=IMAGES, registry=self.registry)
        for name, text, value in (
            ("ppsplit_requests_in_work", "Inference requests taken on: decoded, waiting, running", waiting),
            ("ppsplit_bundles", "Bundles held, old versions included", bundles),
        ):
            Gauge(name, text, registry=self.registry).set_function(value)

    def _counter(self, name: str, text: str, label: str, outcome: bool = True) -> Counter:
        labels = [label, "outcome"] if outcome else [label]
        return Counter(f"ppsplit_{name}", text, labels, registry=self.registry)

    def request(self, route: str, outcome: str, seconds: float, bytes_in: int, bytes_out: int) -> None:
        """A request was answered. `route` and `outcome` are of few values, never what a client sent."""
        self._requests.labels(route, outcome).inc()
        self._latency.labels(route).observe(seconds)
        self._bytes.labels("in").inc(bytes_in)
        self._bytes.labels("out").inc(bytes_out)

    def stages(self, times_ms: Dict[str, float]) -> None:
        """An inference succeeded."""
        for stage, ms in times_ms.items():
            self._stages.labels(stage).observe(ms / 1000)

    def batch(self, images: int) -> None:
        """A batch ran."""
        self._batch.observe(images)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
