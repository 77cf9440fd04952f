"""The tiny detector, a server of its own for it, and the right answers."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from ppsplit.bundle import Bundle
from tests.faults.halves import Right
from tests.tiny_bundle import Server, serving


@pytest.fixture(scope="session")
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle)


@pytest.fixture(scope="session")
def server(tiny_bundle: Path) -> Iterator[Server]:
    """Of these tests alone: what the faults leave behind in it is no other test's."""
    with serving(tiny_bundle) as running:
        yield running


@pytest.fixture(scope="session")
def right(bundle: Bundle, server: Server) -> Right:
    return Right.of(bundle, server.url)
