"""How many threads a runtime can be given."""

from __future__ import annotations

from ppsplit.errors import ConfigError


def check_threads(threads: int) -> None:
    """Raise ConfigError for a number of threads that no runtime can use."""
    if threads < 1:
        raise ConfigError(f"threads is {threads}; expected at least 1")
