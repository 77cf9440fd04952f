"""An HTTP server of files for the tests, that understands Range and can be told to misbehave."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Dict, Iterator, List, Tuple


class FileServer(ThreadingHTTPServer):
    """Serves `files`.

    Attributes:
        files: path to bytes; may be changed at any time.
        asked: the path and the Range header ("" where there was none) of every request.
        cuts: for each coming request, after how many bytes the connection ends.
        statuses: for each coming request, an error status to answer with.
        length: the Content-Length announced; the real one where empty.
        ranges: whether Range is understood.
    """

    def __init__(self, files: Dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.length, self.ranges = files, "", True
        self.asked: List[Tuple[str, str]] = []
        self.cuts: List[int] = []
        self.statuses: List[int] = []

    @property
    def url(self) -> str:
        """The address without a path."""
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def seen(self) -> List[str]:
        """The Range headers alone."""
        return [wanted for _, wanted in self.asked]


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range", "")
        server.asked.append((self.path, wanted))
        if server.statuses or self.path not in server.files:
            self.send_error(server.statuses.pop(0) if server.statuses else 404)
            return
        content = server.files[self.path]
        start = int(wanted[len("bytes=") : -1]) if wanted and server.ranges else 0
        if start >= len(content):
            self.send_error(416)
            return
        body = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", server.length or str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving_files(files: Dict[str, bytes]) -> Iterator[FileServer]:
    """A server of these files, until the end of the block."""
    running = FileServer(files)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield running
    finally:
        running.shutdown()
        running.server_close()
