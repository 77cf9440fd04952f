"""Faults of the link between two real halves: a server in a process of its own, and the edge here."""

from __future__ import annotations

from typing import Tuple

import pytest

from ppsplit.bundle import Bundle
from tests.faults.halves import DEADLINE_MS, Right, check, live_through, make_client
from tests.faults.proxy import AFTER, BEFORE, MIDDLE, NONE, Faults, Proxy
from tests.tiny_bundle import Server

KBIT_64 = 8000.0  # bytes a second
# name, fault, deadline, whether the cloud answers nevertheless: "all", "some" or "none"
CASES: Tuple[Tuple[str, Faults, float, str], ...] = (
    ("latency", Faults(latency_s=0.05), DEADLINE_MS, "all"),
    ("latency beyond the deadline", Faults(latency_s=0.5), DEADLINE_MS, "none"),
    ("jitter", Faults(latency_s=0.02, jitter_s=0.25), DEADLINE_MS, "some"),
    ("64 kbit/s", Faults(bytes_per_s=KBIT_64), 1500.0, "some"),
    ("64 kbit/s, too slow", Faults(bytes_per_s=KBIT_64), DEADLINE_MS, "none"),
    ("lost before the body", Faults(lose=BEFORE), DEADLINE_MS, "none"),
    ("lost in the body", Faults(lose=MIDDLE), DEADLINE_MS, "none"),
    ("lost after the body", Faults(lose=AFTER), DEADLINE_MS, "none"),
    ("some lost in the body", Faults(share=0.3, lose=MIDDLE), 1500.0, "some"),
    ("truncated answer", Faults(truncate=True), DEADLINE_MS, "none"),
    ("damaged request", Faults(share=0.5, flip_request=1), 1000.0, "some"),
    ("badly damaged requests", Faults(flip_request=64), DEADLINE_MS, "none"),
    ("damaged answer", Faults(share=0.5, flip_answer=1), 1000.0, "some"),
    ("badly damaged answers", Faults(flip_answer=64), DEADLINE_MS, "none"),
    ("delivered twice", Faults(double=True), DEADLINE_MS, "some"),
    ("the previous frame's answer", Faults(previous=True), DEADLINE_MS, "none"),
    ("silence", Faults(silent=True), DEADLINE_MS, "none"),
)


@pytest.mark.parametrize(("faults", "deadline_ms", "cloud"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_no_fault_of_the_link_loses_or_mars_a_frame(
    bundle: Bundle, server: Server, right: Right, faults: Faults, deadline_ms: float, cloud: str
) -> None:
    with Proxy(server.port) as proxy:

        def break_it() -> None:
            proxy.faults = faults

        def mend_it() -> None:
            proxy.faults = NONE

        with make_client(bundle, proxy.url, deadline_ms=deadline_ms) as client:
            story = live_through(client, break_it, mend_it, frames=8 if faults.bytes_per_s else 25)
    check(story, right, deadline_ms)
    assert proxy.hits >= 3
    origins = story.origins()
    print(origins, story.reasons(), f"back after {story.back_after_s:.2f} s")
    if cloud == "all":
        assert origins == {"cloud": len(story.during)}
    elif cloud == "some":
        assert origins.get("cloud", 0) > 0
    else:  # but for what was on its way when the fault began
        assert origins.get("cloud", 0) <= 2 and origins.get("edge", 0) > 0
