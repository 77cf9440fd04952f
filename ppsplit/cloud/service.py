"""All that the HTTP face needs, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Sequence

from ppsplit.cloud.engine import DEFAULT_OPTIONS
from ppsplit.cloud.metrics import Metrics
from ppsplit.cloud.programs import EngineOptions
from ppsplit.cloud.rate import Rate
from ppsplit.cloud.room import DEFAULT_MAX_REQUESTS, Room
from ppsplit.cloud.shelf import UNLOAD_AFTER_S, Shelf
from ppsplit.cloud.tokens import Tokens
from ppsplit.errors import ConfigError

DEFAULT_TIMEOUT_S = 30.0


@dataclass
class Service:
    """What is served, to whom, and within which limits.

    Attributes:
        shelf: the bundles.
        room: how many requests are taken on at once.
        metrics: what is counted.
        tokens: who may ask; None for everybody.
        rate: how often each may; None for any.
        timeout_s: for requests that do not say how much time they have.
        draining: that no more inference is taken on.
    """

    shelf: Shelf
    room: Room
    metrics: Metrics
    tokens: Optional[Tokens] = None
    rate: Optional[Rate] = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    draining: bool = False

    @property
    def ready(self) -> bool:
        """Whether inference is taken on and will be quick."""
        return self.shelf.ready and not self.draining


def make_service(
    bundles: Sequence[Path],
    options: EngineOptions = DEFAULT_OPTIONS,
    max_requests: int = DEFAULT_MAX_REQUESTS,
    tokens: Optional[Path] = None,
    rate: Optional[str] = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    unload_after_s: float = UNLOAD_AFTER_S,
) -> Service:
    """A service of these bundles. Loads no program; `Shelf.warm_up` does.

    Args:
        tokens: file of tokens.
        rate: for each client, such as "20/second".

    Raises:
        BundleError: no bundle at a path, or it has nothing for the runtime.
        ConfigError: a limit, a rate or the file of tokens cannot be used.
    """
    if timeout_s <= 0 or unload_after_s < 0:
        raise ConfigError(f"timeout_s is {timeout_s} and unload_after_s {unload_after_s}; expected more than 0")
    room = Room(max_requests)
    checked_tokens = Tokens(tokens) if tokens is not None else None
    checked_rate = Rate(rate) if rate is not None else None
    metrics = Metrics(lambda: room.taken, lambda: len(shelf))
    shelf = Shelf(bundles, options, metrics.batch, unload_after_s)
    return Service(shelf, room, metrics, checked_tokens, checked_rate, timeout_s)
