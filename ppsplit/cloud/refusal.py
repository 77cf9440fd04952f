"""A request that the cloud half says no to."""

from __future__ import annotations

from ppsplit.errors import PPSplitError


class RefusedError(PPSplitError):
    """The request cannot be served as it is, and sending it again changes nothing.

    Attributes:
        status: HTTP status code, 4xx.
        code: the reason for machines; wire/FORMAT.md section 6 lists them.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
