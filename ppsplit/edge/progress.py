"""A progress bar on the error stream. Ours, because the board has no library for one."""

from __future__ import annotations

import sys
from typing import Optional, TextIO

WIDTH = 30


class ProgressBar:
    """Counts up to `total`. Silent for a single item, and where the stream is no terminal."""

    def __init__(self, total: int, stream: Optional[TextIO] = None) -> None:
        self._total, self._count = total, 0
        self._stream = stream if stream is not None else sys.stderr
        self._shown = total > 1 and self._stream.isatty()

    def advance(self, count: int, label: str) -> None:
        """`count` more are done, the last of them `label`."""
        self._count += count
        if self._shown:
            filled = WIDTH * self._count // self._total
            bar = "#" * filled + "." * (WIDTH - filled)
            self._stream.write(f"\r[{bar}] {self._count}/{self._total} {label[:40]:<40}")
            self._stream.flush()

    def say(self, line: str) -> None:
        """A line of its own, above the bar."""
        self._clear()
        print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Take the bar away."""
        self._clear()
        self._shown = False

    def _clear(self) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
