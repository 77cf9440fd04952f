"""Who may ask: bearer tokens from a file, read again when the file changes."""

from __future__ import annotations

import hashlib
import hmac
import logging
import threading
from pathlib import Path
from typing import Optional, Tuple

from ppsplit.cloud.refusal import RefusedError
from ppsplit.errors import ConfigError
from ppsplit.wire.http import BEARER

MIN_TOKEN_CHARACTERS = 16
NAME_CHARACTERS = 8

log = logging.getLogger(__name__)


class Tokens:
    """The tokens of a file: one a line, `#` begins a comment line.

    They are kept as hashes and compared all of them, each in constant time, so that the time of an answer tells
    nothing of them.

    Args:
        path: the file; looked at again at every request, which costs microseconds.

    Raises:
        ConfigError: it cannot be read, is empty, or a token is shorter than 16 characters or holds a space.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._seen = _stamp(self._path)
        self._hashes = _read(self._path)

    def check(self, authorization: Optional[str]) -> str:
        """A name for whose token it is, fit for logs.

        Args:
            authorization: the header's value.

        Raises:
            RefusedError: none, or not one of the tokens.
        """
        self._refresh()
        scheme, _, token = (authorization or "").strip().partition(" ")
        given = _hash(token.strip())
        found = False
        for known in self._hashes:
            found |= hmac.compare_digest(given, known)
        if scheme.lower() != BEARER.lower() or not found:
            raise RefusedError(401, "unauthorized", "send `Authorization: Bearer TOKEN` with a token of this server")
        return "token-" + given.hex()[:NAME_CHARACTERS]

    def _refresh(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._seen:
            return
        with self._lock:
            if stamp == self._seen:
                return
            self._seen = stamp
            try:
                self._hashes = _read(self._path)
                log.warning("%s was read again: %d tokens", self._path, len(self._hashes))
            except ConfigError as error:
                log.error("the tokens stay as they were: %s", error)


def _stamp(path: Path) -> Tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: Path) -> Tuple[bytes, ...]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot read the tokens of {path} ({error}); expected a text file, a token a line"
        ) from error
    tokens = [line for line in lines if line and not line.startswith("#")]
    if not tokens:
        raise ConfigError(f"{path} holds no token; write one a line, such as `openssl rand -hex 32` prints")
    for number, line in enumerate(lines, 1):
        if line in tokens and (len(line) < MIN_TOKEN_CHARACTERS or len(line.split()) > 1):
            raise ConfigError(
                f"the token in line {number} of {path} is too short or holds a space; expected "
                f"{MIN_TOKEN_CHARACTERS} characters or more, such as `openssl rand -hex 32` prints"
            )
    return tuple(_hash(token) for token in tokens)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
