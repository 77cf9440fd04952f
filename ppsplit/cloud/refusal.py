"""A request that the cloud half says no to."""

from __future__ import annotations

from typing import Optional

from ppsplit.errors import PPSplitError


class RefusedError(PPSplitError):
    """The request is not served: as it is, for 4xx; at this moment, for 429 and 503.

    Attributes:
        status: HTTP status code, 4xx or 503.
        code: the reason for machines; wire/FORMAT.md section 6 lists them.
        retry_after_s: when to ask again, whole seconds from 1; set for 429 and 503 alone.
    """

    def __init__(self, status: int, code: str, message: str, retry_after_s: Optional[int] = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_s = max(1, retry_after_s or 1) if status in (429, 503) else None


def deadline_passed() -> RefusedError:
    """The time that the client gave is over."""
    return RefusedError(503, "deadline_passed", "the request's time was over before its turn, or before it was done")
