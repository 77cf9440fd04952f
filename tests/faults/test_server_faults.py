"""Faults of the cloud itself, and of the clocks, under the same law."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import pytest

from ppsplit.bundle import Bundle
from tests.faults.halves import DEADLINE_MS, Right, check, live_through, make_client
from tests.faults.proxy import NONE, Faults, Proxy
from tests.tiny_bundle import SERVE, Server, serving

# The last argument is a file; while it is there, something is wrong.
FLAGGED = "import pathlib, sys; flag = pathlib.Path(sys.argv.pop())\n"
STARVED = f"""{FLAGGED}
from ppsplit.cloud.programs import Programs
run = Programs.run
def starved(self, *arguments):
    if flag.exists():
        raise MemoryError
    return run(self, *arguments)
Programs.run = starved
{SERVE}"""
# Forward and back by twelve days, at every call.
JUMPING = f"""{FLAGGED}
import itertools, time
real, jumps = time.time, itertools.cycle((1e6, -1e6))
time.time = lambda: real() + (next(jumps) if flag.exists() else 0.0)
{SERVE}"""


def test_a_server_that_is_killed_and_started_again(bundle: Bundle, tiny_bundle: Path, right: Right) -> None:
    back = threading.Event()
    with contextlib.ExitStack() as running:
        first = running.enter_context(serving(tiny_bundle))

        def restart() -> None:
            running.enter_context(serving(tiny_bundle, first.port))
            back.set()

        with Proxy(first.port) as proxy, make_client(bundle, proxy.url) as client:
            story = live_through(client, first.process.kill, threading.Thread(target=restart).start, mended_is=back)
    check(story, right)
    assert story.origins().get("edge", 0) >= 20
    assert set(story.reasons()) <= {"broken", "unreachable", "not_ready", "timed_out"}


def test_a_server_out_of_memory(bundle: Bundle, tiny_bundle: Path, right: Right, tmp_path: Path) -> None:
    flag = tmp_path / "starved"
    with serving(tiny_bundle, extra=(str(flag),), code=STARVED) as server, make_client(bundle, server.url) as client:
        story = live_through(client, flag.touch, flag.unlink)
        assert server.is_alive()
    check(story, right)
    assert story.reasons() == ["out_of_memory"]
    assert story.origins().get("edge", 0) >= 20


def test_clocks_that_jump(
    bundle: Bundle, tiny_bundle: Path, right: Right, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both halves': neither reads a clock that can be set, so nothing happens at all."""
    flag, real, calls = tmp_path / "jumping", time.time, [0]

    def jumping() -> float:
        calls[0] += 1
        return real() + ((-1) ** calls[0] * 1e6 if flag.exists() else 0.0)

    monkeypatch.setattr("time.time", jumping)
    with serving(tiny_bundle, extra=(str(flag),), code=JUMPING) as server, make_client(bundle, server.url) as client:
        story = live_through(client, flag.touch, flag.unlink)
    check(story, right)
    assert story.origins() == {"cloud": len(story.during)}


def test_another_bundle_behind_the_same_address(bundle: Bundle, raw_bundle: Path, server: Server, right: Right) -> None:
    with serving(raw_bundle) as other, Proxy(server.port) as proxy, make_client(bundle, proxy.url) as client:
        story = live_through(client, lambda: proxy.turn_to(other.port), lambda: proxy.turn_to(server.port))
    check(story, right)
    assert "wrong_bundle" in story.reasons()
    assert story.origins().get("cloud", 0) <= 2


def test_a_second_server_takes_over_and_the_tail_is_not_needed(
    bundle: Bundle, tiny_bundle: Path, server: Server, right: Right
) -> None:
    with serving(tiny_bundle) as second, Proxy(server.port) as proxy:

        def silence() -> None:
            proxy.faults = Faults(silent=True)

        def speak() -> None:
            proxy.faults = NONE

        with make_client(bundle, proxy.url, second.url, deadline_ms=2 * DEADLINE_MS) as client:
            story = live_through(client, silence, speak)
    check(story, right, 2 * DEADLINE_MS)
    assert story.origins() == {"cloud": len(story.during)}


def test_no_cloud_at_all_from_the_beginning(bundle: Bundle, server: Server, right: Right) -> None:
    with Proxy(1) as proxy, make_client(bundle, proxy.url) as client:
        story = live_through(client, lambda: None, lambda: proxy.turn_to(server.port))
    check(story, right, began="edge")
    assert story.origins() == {"edge": len(story.during)}


@pytest.mark.slow
def test_everything_at_once_for_a_while(bundle: Bundle, server: Server, right: Right) -> None:
    """A minute on a link that does each of these to some requests."""
    worst = Faults(share=0.3, latency_s=0.02, jitter_s=0.1, bytes_per_s=64_000, flip_answer=1, double=True)
    with Proxy(server.port) as proxy:

        def break_it() -> None:
            proxy.faults = worst

        def mend_it() -> None:
            proxy.faults = NONE

        with make_client(bundle, proxy.url, deadline_ms=1000, depth=4) as client:
            story = live_through(client, break_it, mend_it, frames=1000)
    check(story, right, 1000)
    assert story.origins().get("cloud", 0) > 100
