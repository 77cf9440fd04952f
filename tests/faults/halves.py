"""The edge half as the fault tests run it, the right answers, and what has to hold whatever happens."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, List, Optional

import numpy as np

from ppsplit.bundle import TAIL, Bundle
from ppsplit.detections import Detections
from ppsplit.edge.client import EdgeClient, LocalClient
from ppsplit.edge.frames import Frame, Source
from ppsplit.edge.head import Head
from ppsplit.edge.link import Link
from ppsplit.edge.points import make_point
from ppsplit.edge.stream import StreamAnswer, StreamClient
from ppsplit.runtime.choice import load_part
from tests.lateness import Lateness

PICTURES = 8
HW = (64, 96)
DEADLINE_MS = 300.0
BACK_WITHIN_S = 5.0
PACE_S = 0.02


def picture(index: int) -> np.ndarray:
    """uint8 [H, W, 3], one of `PICTURES`."""
    return np.random.default_rng(index % PICTURES).integers(0, 256, (*HW, 3), np.uint8)


class Scene(Source):
    """Numbered pictures at a pace, until told to end; not continuous, so that no answer stands in for another."""

    def __init__(self) -> None:
        self.ended = False

    def frames(self) -> Iterator[Frame]:
        index = 0
        while not self.ended:
            yield Frame(str(index), picture(index))
            index += 1
            time.sleep(PACE_S)


@dataclass
class Right:
    """The right answers to the pictures: of the cloud half, asked without anything between, and of the tail here."""

    cloud: List[Detections]
    edge: List[Detections]

    @classmethod
    def of(cls, bundle: Bundle, url: str) -> Right:
        head = Head(bundle, bundle.cut(), "paddle")
        asked, here = EdgeClient(head, Link(url)), LocalClient(head, load_part(bundle, head.cut, TAIL, "paddle"))
        found = [[client.infer(picture(i)).detections for i in range(PICTURES)] for client in (asked, here)]
        cloud, edge = ([one for one in answers if one is not None and len(one)] for answers in found)
        assert len(cloud) == len(edge) == PICTURES
        boxes = [one.boxes_xyxy.tobytes() for one in cloud]
        assert len(set(boxes)) == PICTURES  # else a mix-up would not show
        return cls(cloud, edge)


def make_client(bundle: Bundle, *urls: str, deadline_ms: float = DEADLINE_MS, **options: Any) -> StreamClient:
    """A stream's client in Paddle Inference, with the tail."""
    head = Head(bundle, bundle.cut(), "paddle")
    depth = options.get("depth", 2)
    link = Link(urls, fail_fast=True, connections=depth + 1, fingerprint=bundle.manifest.fingerprint)
    tails = {head.cut.name: load_part(bundle, head.cut, TAIL, "paddle")}
    return StreamClient([make_point(bundle, head, "uint8")], link, tails, deadline_ms=deadline_ms, **options)


@dataclass
class Story:
    """What a stream lived through: answers while all was well, during the fault, and from its end to being back."""

    before: List[StreamAnswer] = field(default_factory=list)
    during: List[StreamAnswer] = field(default_factory=list)
    after: List[StreamAnswer] = field(default_factory=list)
    back_after_s: Optional[float] = None
    tolerance_ms: float = 0.0

    @property
    def answers(self) -> List[StreamAnswer]:
        """All, in the order in which they came."""
        return [*self.before, *self.during, *self.after]

    def origins(self) -> Dict[str, int]:
        """Of the answers during the fault."""
        names = [answer.result.origin for answer in self.during]
        return {name: names.count(name) for name in set(names)}

    def reasons(self) -> List[str]:
        """Of the degraded answers during the fault, each once."""
        return sorted({answer.result.degraded_reason for answer in self.during if answer.result.degraded_reason})


def live_through(
    client: StreamClient,
    break_it: Callable[[], None],
    mend_it: Callable[[], None],
    frames: int = 25,
    mended_is: Optional[threading.Event] = None,
) -> Story:
    """Stream while all is well, break something, stream on, mend it, stream until the cloud answers again.

    Args:
        frames: how many to stream between breaking and mending.
        mended_is: set when what `mend_it` began is done; None for at once.
    """
    story, scene = Story(), Scene()
    with Lateness() as lateness:
        _live(client, scene, story, break_it, mend_it, frames, mended_is)
    story.tolerance_ms = lateness.tolerance_ms
    return story


def _live(
    client: StreamClient,
    scene: Scene,
    story: Story,
    break_it: Callable[[], None],
    mend_it: Callable[[], None],
    frames: int,
    mended_is: Optional[threading.Event],
) -> None:
    done = mended_is or threading.Event()
    mended: Optional[float] = None
    for answer in client.stream(scene):
        if mended is not None:
            story.after.append(answer)
            # what was on its way when it was mended is no sign of life
            fresh = len(story.after) > 2
            if fresh and answer.result.origin == "cloud" or time.monotonic() - mended > 4 * BACK_WITHIN_S:
                story.back_after_s = time.monotonic() - mended
                break
        elif len(story.before) < 5:
            story.before.append(answer)
            if len(story.before) == 5:
                break_it()
        else:
            story.during.append(answer)
            if len(story.during) == frames:
                mend_it()
                if mended_is is None:
                    done.set()
            if done.is_set():
                mended = time.monotonic()
    scene.ended = True


def check(story: Story, right: Right, deadline_ms: float = DEADLINE_MS, began: str = "cloud") -> None:
    """The law of this part: every frame answered in its time, in order, none twice, never a wrong box.

    Args:
        began: where the answers before the fault came from.

    What the machine was seen to wake its processes late meanwhile is forgiven; see tests/lateness.py.
    """
    answers = story.answers
    assert [answer.index for answer in answers] == list(range(len(answers)))
    assert [answer.frame.name for answer in answers] == [str(index) for index in range(len(answers))]
    slowest = max(answers, key=lambda answer: answer.latency_ms)
    assert slowest.latency_ms <= deadline_ms + story.tolerance_ms, (slowest.latency_ms, slowest.result)
    for index, answer in enumerate(answers):
        _check_boxes(answer, right, index % PICTURES)
    assert {answer.result.origin for answer in story.before} == {began}
    assert story.back_after_s is not None and story.back_after_s < BACK_WITHIN_S


def _check_boxes(answer: StreamAnswer, right: Right, number: int) -> None:
    found, result = answer.result.detections, answer.result
    assert found is not None
    if result.origin == "stale":
        assert len(found) == 0 and result.degraded_reason
        return
    expected = right.cloud[number] if result.origin == "cloud" else right.edge[number]
    np.testing.assert_array_equal(found.boxes_xyxy, expected.boxes_xyxy)
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    assert (result.degraded_reason is None) == (result.origin == "cloud")
