"""A stream over a real link: order, origin, pipelining, live sources, and what ends it."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any, Iterator, List, Optional

import numpy as np
import pytest

from ppsplit.bundle import TAIL, Bundle
from ppsplit.edge.client import EdgeClient
from ppsplit.edge.frames import Frame, Source
from ppsplit.edge.head import Head
from ppsplit.edge.link import Link
from ppsplit.edge.points import make_point
from ppsplit.edge.stream import StreamAnswer, StreamClient
from ppsplit.errors import ConfigError, DataError
from ppsplit.runtime.choice import load_part
from ppsplit.wire.http import TIMEOUT_HEADER
from tests.edge.scripted_server import answer, hang_up, header, read_request, scripted, stay_silent
from tests.tiny_bundle import Server, serving

NOBODY = "http://127.0.0.1:1"
HW = (64, 96)


class Noise(Source):
    """Frames of noise, each its own, numbered; `pause_s` between them."""

    def __init__(self, count: int, live: bool = False, continuous: bool = True, pause_s: float = 0.0) -> None:
        self.count, self.live, self.continuous, self._pause_s = count, live, continuous, pause_s

    def frames(self) -> Iterator[Frame]:
        for index in range(self.count or 0):
            pixels = np.random.default_rng(index).integers(0, 256, (*HW, 3), np.uint8)
            yield Frame(str(index), pixels)
            time.sleep(self._pause_s)


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle)


def make(bundle: Bundle, url: str, tail: bool = True, **options: Any) -> StreamClient:
    head = Head(bundle, bundle.cut(), "paddle")
    link = Link(url, fail_fast=True, connections=3, fingerprint=bundle.manifest.fingerprint)
    tails = {head.cut.name: load_part(bundle, head.cut, TAIL, "paddle")} if tail else None
    return StreamClient([make_point(bundle, head, "uint8")], link, tails, **options)


def check_order(answers: List[StreamAnswer], count: int) -> None:
    assert [answer.index for answer in answers] == list(range(count))
    assert [answer.frame.name for answer in answers] == [str(index) for index in range(count)]


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_every_frame_gets_its_own_answer_in_order(bundle: Bundle, tiny_server: Server, depth: int) -> None:
    source = Noise(12)
    with make(bundle, tiny_server.url, depth=depth) as client:
        answers = list(client.stream(source))
    check_order(answers, 12)
    alone = EdgeClient(Head(bundle, bundle.cut(), "paddle"), Link(tiny_server.url))
    for found, frame in zip(answers, source.frames()):
        assert (found.result.origin, found.result.degraded_reason) == ("cloud", None)
        expected = alone.infer(frame.image_rgb).detections
        assert expected is not None and found.result.detections is not None and len(expected)
        np.testing.assert_array_equal(found.result.detections.boxes_xyxy, expected.boxes_xyxy)
        assert found.result.payload_bytes > 0 and found.latency_ms < 1000


def test_without_a_cloud_the_tail_finishes_the_same_frame(bundle: Bundle, tiny_server: Server) -> None:
    with make(bundle, tiny_server.url) as client:
        by_cloud = list(client.stream(Noise(4)))
    with make(bundle, NOBODY) as client:
        answers = list(client.stream(Noise(4)))
    check_order(answers, 4)
    for here, there in zip(answers, by_cloud):
        assert (here.result.origin, here.result.degraded_reason) == ("edge", "unreachable")
        assert here.result.detections is not None and there.result.detections is not None
        best = [found.scores[:2] for found in (here.result.detections, there.result.detections)]
        np.testing.assert_allclose(*best, atol=0.05)  # one was not rounded to 8 bits
        assert here.result.times_ms["tail"] > 0 and here.result.payload_bytes == 0


def test_without_cloud_and_tail_it_is_nothing_then_the_last_known(bundle: Bundle) -> None:
    with make(bundle, NOBODY, tail=False) as client:
        answers = list(client.stream(Noise(3)))
    check_order(answers, 3)
    for found in answers:
        assert (found.result.origin, found.result.degraded_reason) == ("stale", "unreachable")
        assert found.result.detections is not None and len(found.result.detections) == 0


@pytest.mark.parametrize("continuous", [True, False])
def test_the_last_known_stands_in_where_the_scene_goes_on(bundle: Bundle, continuous: bool) -> None:
    record = {"class_id": 1, "score": 0.5, "box_xyxy": [1, 2, 30, 20]}
    values = {"bundle": bundle.manifest.fingerprint, "cut": "deep", "detections": [[record]], "times_ms": {}}
    fine = answer(200, json.dumps(values).encode())
    with scripted([fine, *[hang_up] * 9]) as (url, _):
        with make(bundle, url, tail=False, depth=1) as client:
            answers = list(client.stream(Noise(3, continuous=continuous)))
    assert [found.result.origin for found in answers] == ["cloud", "stale", "stale"]
    counts = [len(found.result.detections or ()) for found in answers]
    assert counts == ([1, 1, 1] if continuous else [1, 0, 0])
    assert answers[2].result.payload_bytes == 0


@pytest.mark.parametrize("tail", [True, False])
def test_a_silent_server_costs_no_frame_its_deadline(bundle: Bundle, tail: bool) -> None:
    with scripted([stay_silent] * 4) as (url, _):
        with make(bundle, url, tail=tail, deadline_ms=400, depth=1) as client:
            answers = list(client.stream(Noise(5)))
    check_order(answers, 5)
    assert {found.result.origin for found in answers} == {"edge" if tail else "stale"}
    assert {found.result.degraded_reason for found in answers} == {"timed_out"}
    assert max(found.latency_ms for found in answers) < 500
    assert answers[-1].latency_ms < 200  # the circuit is open, nobody waits any more


def test_the_server_is_told_the_time_without_what_is_kept_for_the_tail(bundle: Bundle) -> None:
    told: List[int] = []

    def look(connection: Any) -> None:
        head, _ = read_request(connection)
        told.append(int(header(head, TIMEOUT_HEADER)))
        connection.close()

    with scripted([look] * 8) as (url, _):
        with make(bundle, url, deadline_ms=700) as client:
            list(client.stream(Noise(1)))
    assert told and 0 < max(told) < 690


def test_heads_overlap_with_the_network(bundle: Bundle, tiny_server: Server) -> None:
    """While one frame's answer is awaited, the next frame's message is already made."""
    values = {"bundle": bundle.manifest.fingerprint, "cut": "deep", "detections": [[]], "times_ms": {}}
    fine = answer(200, json.dumps(values).encode())
    taken: List[str] = []
    seen_at_answer: List[int] = []

    class Watched(Noise):
        def frames(self) -> Iterator[Frame]:
            for frame in super().frames():
                taken.append(frame.name)
                yield frame

    def late(connection: Any) -> None:
        time.sleep(0.3)
        seen_at_answer.append(len(taken))
        fine(connection)

    with scripted([late, fine, fine, fine]) as (url, _):
        with make(bundle, url, depth=2, waiting=1) as client:
            answers = list(client.stream(Watched(4)))
    check_order(answers, 4)
    assert seen_at_answer[0] >= 2


def test_a_live_source_drops_the_oldest_and_a_file_nothing(bundle: Bundle, tiny_server: Server) -> None:
    with make(bundle, tiny_server.url, waiting=2) as client:
        files = []
        for found in client.stream(Noise(10)):
            time.sleep(0.05)
            files.append(found)
        live = []
        for found in client.stream(Noise(60, live=True, pause_s=0.01)):
            time.sleep(0.05)
            live.append(found)
    check_order(files, 10)
    assert files[-1].dropped == 0
    names = [int(found.frame.name) for found in live]
    assert names == sorted(set(names)) and names[-1] == 59  # the newest is never the one that is dropped
    assert [found.index for found in live] == list(range(len(live)))
    assert live[-1].dropped == 60 - len(live) > 0


def test_a_stream_can_be_left_and_begun_anew(bundle: Bundle, tiny_server: Server) -> None:
    with make(bundle, tiny_server.url) as client:
        stream = client.stream(Noise(1000))
        assert next(stream).index == 0
        with pytest.raises(ConfigError, match="a stream already"):
            next(client.stream(Noise(1)))
        stream.close()
        check_order(list(client.stream(Noise(3))), 3)


def test_what_a_source_raises_comes_after_the_frames_before_it(bundle: Bundle, tiny_server: Server) -> None:
    class Broken(Noise):
        def frames(self) -> Iterator[Frame]:
            yield from super().frames()
            raise DataError("the camera is gone")

    seen = []
    with make(bundle, tiny_server.url) as client:
        with pytest.raises(DataError, match="camera is gone"):
            for found in client.stream(Broken(2)):
                seen.append(found)
    check_order(seen, 2)


def test_features_without_a_code_are_finished_here(bundle: Bundle, tiny_server: Server) -> None:
    with make(bundle, tiny_server.url) as client:
        head = client._points[0].head
        original = head.run
        head.run = lambda inputs: {k: v * np.float32("nan") for k, v in original(inputs).items()}  # type: ignore
        (found,) = client.stream(Noise(1))
    assert found.result.degraded_reason == "unencodable"


def test_a_name_that_is_looked_up_for_ever_costs_no_frame_its_deadline(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: release.wait(20) and [])
    try:
        with make(bundle, "http://cloud.invalid", deadline_ms=300) as client:
            answers = list(client.stream(Noise(6)))
    finally:
        release.set()
    assert max(found.latency_ms for found in answers) < 400
    reasons: List[Optional[str]] = [found.result.degraded_reason for found in answers]
    assert reasons[0] == "timed_out" and set(reasons) <= {"timed_out", "unreachable"}


def test_back_on_the_cloud_soon_after_it_is_back(bundle: Bundle, tiny_bundle: Path) -> None:
    with serving(tiny_bundle) as server:
        port = int(server.url.rpartition(":")[2])
    with make(bundle, f"http://127.0.0.1:{port}", deadline_ms=500) as client:
        assert {found.result.origin for found in client.stream(Noise(8))} == {"edge"}
        with serving(tiny_bundle, port):
            back = time.monotonic()
            for found in client.stream(Noise(1000, live=True, pause_s=0.05)):
                if found.result.origin == "cloud":
                    break
            assert time.monotonic() - back < 5
