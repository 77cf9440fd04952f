"""Logs: a line of text, or of JSON with the request's id."""

from __future__ import annotations

import json
import logging
import time
from typing import Any, Dict, List

TEXT, JSON = "text", "json"
REQUEST_FIELDS = (
    *("request_id", "client", "method", "path", "status", "code", "bundle"),
    *("bytes_in", "bytes_out", "latency_ms", "times_ms"),
)


class JsonFormatter(logging.Formatter):
    """A record as one line: time (UTC), level, logger, message, what a request adds, and the traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        values: Dict[str, Any] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        values.update({key: record.__dict__[key] for key in REQUEST_FIELDS if record.__dict__.get(key) is not None})
        if record.exc_info:
            values["traceback"] = self.formatException(record.exc_info)
        return json.dumps(values, default=str)


def set_up(style: str) -> None:
    """Log to stderr: "text" tells of faults alone, "json" also has a line for each request."""
    handler = logging.StreamHandler()
    if style == JSON:
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handlers: List[logging.Handler] = [handler]
    logging.basicConfig(level=logging.WARNING, handlers=handlers, force=True)
    if style == JSON:
        logging.getLogger("ppsplit.cloud").setLevel(logging.INFO)
