"""The server survives what comes in at its door."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from tests.fuzz.http import CORPUS, Figures, exchange, fuzz_http, good_frame, good_requests
from tests.tiny_bundle import Server, serving


@pytest.fixture(scope="module")
def server(tiny_bundle: Path) -> Iterator[Server]:
    with serving(tiny_bundle) as running:
        yield running


def _held(figures: Figures, count: int) -> None:
    assert figures.failures == []
    assert figures.requests == count
    assert figures.by_status["400"] > count // 10 and figures.by_status["200"] > 0  # some mutations mean nothing
    assert "500" not in figures.by_status


def test_mutated_requests(server: Server, tiny_bundle: Path) -> None:
    _held(fuzz_http(server, tiny_bundle, 1_000, seed=1), 1_000)


def test_what_was_found_once(server: Server, tiny_bundle: Path) -> None:
    answers = [exchange(server, path.read_bytes()) for path in sorted(CORPUS.glob("*.http"))]
    assert 500 not in answers
    assert exchange(server, good_requests(good_frame(tiny_bundle))[0]) == 200


@pytest.mark.slow
def test_twenty_thousand_requests(server: Server, tiny_bundle: Path) -> None:
    figures = fuzz_http(server, tiny_bundle, 20_000, seed=2)
    _held(figures, 20_000)
    assert figures.slowest_ms < 1000 and figures.rss_growth_mib < 0.05 * figures.rss_mib
