"""The cloud's reader survives what a bad link or an attacker makes of frames."""

from __future__ import annotations

import pytest

from tests.fuzz.frames import CORPUS, FrameReader, fuzz_frames, seeds


def test_good_frames_are_taken() -> None:
    assert all(FrameReader().read(frame) for frame in seeds().values())


def test_mutated_frames_are_refused_or_mean_tensors_of_the_cut() -> None:
    figures = fuzz_frames(20_000, seed=1)
    assert figures.failures == []
    assert figures.frames == 20_000 and 0 < figures.taken < 2_000  # changed values in tensors are no damage
    assert figures.damaged > 8_000


def test_what_was_found_once() -> None:
    frames = [path.read_bytes() for path in CORPUS.glob("*.frame")]
    reader = FrameReader()
    refused = [not reader.read(frame) for frame in frames]
    assert len(frames) > 40 and all(refused)


@pytest.mark.slow
def test_a_million_frames() -> None:
    figures = fuzz_frames(1_000_000, seed=2)
    assert figures.failures == []
    assert figures.slowest_ms < 1000 and figures.rss_growth_mib < 16
