"""What both halves say in HTTP's headers: FORMAT.md section 6. Standard library only; knows no client and no server."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import uuid
from typing import Optional

from ppsplit.errors import WireError

TIMEOUT_HEADER = "PPSplit-Timeout-Ms"
REQUEST_ID_HEADER = "PPSplit-Request-Id"
DIGEST_HEADER = "Content-Digest"
REQUEST_DIGEST_HEADER = "PPSplit-Request-Digest"
RETRY_AFTER_HEADER = "Retry-After"
BEARER = "Bearer"

# Faults of the way or of the moment: the same request may well be answered when it is sent again.
RETRYABLE_STATUSES = frozenset((408, 425, 429, 500, 502, 503, 504))
# Refused as wrong in itself. The sender knows body and headers to be right, so they were damaged on the way.
RETRYABLE_CODES = frozenset(
    ((400, "bad_digest"), (400, "bad_frame"), (400, "bad_header"), (400, "bad_request"), (415, "wrong_content_type"))
)

MAX_TIMEOUT_MS = 24 * 60 * 60 * 1000
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGITS = re.compile(r"[0-9]{1,9}")
_SHA256 = re.compile(r"\s*sha-256\s*=\s*:([A-Za-z0-9+/=]*):\s*(?:;.*)?", re.DOTALL)


def content_digest(body: bytes) -> str:
    """The value of Content-Digest (RFC 9530) for a body: its sha-256."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode('ascii')}:"


def request_digest(query: bytes, body: bytes) -> str:
    """The value of PPSplit-Request-Digest: of the query as it stands in the request, without "?", and the body."""
    return content_digest(query + b"\n" + body)


def digest_matches(body: bytes, header: Optional[str]) -> bool:
    """Whether `header` holds a sha-256 and it is the body's; False for none, for other algorithms and for nonsense."""
    for member in (header or "").split(","):
        found = _SHA256.fullmatch(member)
        if found is None:
            continue
        try:
            claimed = base64.b64decode(found[1], validate=True)
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(claimed, hashlib.sha256(body).digest())
    return False


def new_request_id() -> str:
    """An id that no other request has."""
    return uuid.uuid4().hex


def check_request_id(text: str) -> str:
    """`text`, if it can be an id. Raises WireError: not 1 to 64 of A-Z a-z 0-9 . _ -"""
    if not _REQUEST_ID.fullmatch(text):
        raise WireError(f"{REQUEST_ID_HEADER} is {text!r:.99}; expected 1 to 64 letters, digits, dots, _ or -")
    return text


def parse_timeout_ms(text: str) -> int:
    """What is left of a request's time, in ms, at most a day. Raises WireError: not a whole number from 1."""
    stripped = text.strip(" \t")
    if not _DIGITS.fullmatch(stripped) or int(stripped) < 1:
        raise WireError(f"{TIMEOUT_HEADER} is {text!r:.99}; expected a whole number of milliseconds from 1")
    return min(int(stripped), MAX_TIMEOUT_MS)


def parse_retry_after_s(text: Optional[str]) -> Optional[int]:
    """Seconds of a Retry-After; None for none, for a date (which needs a common clock) and for nonsense."""
    stripped = (text or "").strip(" \t")
    return int(stripped) if _DIGITS.fullmatch(stripped) else None


def may_retry(status: int, code: str = "") -> bool:
    """Whether sending the request again can help. Inference changes nothing, so it is always safe."""
    return status in RETRYABLE_STATUSES or (status, code) in RETRYABLE_CODES
