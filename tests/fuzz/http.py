"""Mutated requests, byte by byte over real sockets, against a real server in a process of its own."""

from __future__ import annotations

import hashlib
import random
import re
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence
from urllib.parse import urlsplit

import cv2
import numpy as np

from ppsplit.bundle import Bundle
from ppsplit.codec import Codec
from ppsplit.wire import FEATURES_TYPE, FeatureMessage, WireTensor, pack
from tests.fuzz.mutations import Rng, mutate_bytes, mutate_message
from tests.tiny_bundle import INPUT_HW, Server, get

CORPUS = Path(__file__).with_name("corpus_http")
ANSWER_S = 10.0  # after which a server is called hung, whatever the machine has to do
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
HEADERS: Sequence[bytes] = (
    b"Content-Length: -1",
    b"Content-Length: 99999999999999999999",
    b"Content-Length: 0x10",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: identity, chunked",
    b"Expect: 100-continue",
    b"Connection: upgrade",
    b"Content-Encoding: gzip",
    b"PPSplit-Timeout-Ms: -5",
    b"PPSplit-Timeout-Ms: 1e9999",
    b"PPSplit-Request-Id: " + b"x" * 300,
    b"PPSplit-Request-Id: a\tb",
    b"Content-Digest: sha-256=:AAAA:",
    b"Authorization: Bearer " + b"\xff" * 40,
    b"X: " + b"y" * 70_000,
    b" folded",
    b"no colon",
    b"\0: \0",
)


@dataclass
class Figures:
    """What a run was like. A request that no answer came to had its connection closed by the server."""

    requests: int = 0
    by_status: Dict[str, int] = field(default_factory=dict)
    slowest_ms: float = 0.0
    rss_growth_mib: float = 0.0
    rss_mib: float = 0.0
    seconds: float = 0.0
    failures: List[str] = field(default_factory=list)


def good_frame(bundle_path: Path) -> bytes:
    """Features of noise for the bundle's first cut."""
    bundle = Bundle.open(bundle_path)
    cut, rng = bundle.cut(), np.random.default_rng(0)
    tensors = {s.name: rng.normal(0, 1, [max(d, 1) for d in s.shape]).astype(s.dtype) for s in cut.tensors}
    encoded = Codec(bundle, cut, "uint8").encode(tensors)
    return pack(FeatureMessage(bundle.manifest.fingerprint, cut.name, "uint8", tuple(WireTensor(*t) for t in encoded)))


def good_requests(frame: bytes) -> List[bytes]:
    """One of each kind that the server has an answer for."""
    noise = np.random.default_rng(0).integers(0, 256, (*INPUT_HW, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", noise)[1].tobytes()
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(frame), frame)
    return [
        request(b"POST /v1/infer", FEATURES_TYPE.encode(), frame),
        request(b"POST /v1/infer", FEATURES_TYPE.encode(), chunks, b"Transfer-Encoding: chunked"),
        request(b"POST /v1/infer-image?score_threshold=0.2&max_detections=5", b"image/jpeg", jpeg),
        *(request(b"GET " + path) for path in (b"/v1/bundle", b"/healthz", b"/readyz", b"/metrics", b"/", b"/%00")),
    ]


def request(line: bytes, content_type: bytes = b"", body: bytes = b"", *headers: bytes) -> bytes:
    """A whole request; its length is said unless `headers` do."""
    lines = [line + b" HTTP/1.1", b"Host: x", *headers]
    if body:
        lines.append(b"Content-Type: " + content_type)
        if not headers:
            lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def mutated_request(good: Sequence[bytes], frame: bytes, rng: Rng) -> bytes:
    """Bytes changed anywhere, a header that should not be there, or a right request around a wrong frame."""
    kind = rng.random()
    if kind < 0.3:
        return request(b"POST /v1/infer", FEATURES_TYPE.encode(), mutate_message(frame, [frame], rng))
    text = rng.choice(good)
    if kind < 0.6:
        head, _, body = text.partition(b"\r\n\r\n")
        return mutate_bytes(head, good, rng) + b"\r\n\r\n" + body
    if kind < 0.8:
        line, _, rest = text.partition(b"\r\n")
        return line + b"\r\n" + rng.choice(HEADERS) + b"\r\n" + rest
    return mutate_bytes(text, good, rng)


def exchange(server: Server, data: bytes) -> Optional[int]:
    """Send bytes, say that there are no more, and read to the end; the first answer's status, None without one.

    Raises:
        TimeoutError: the server neither answered nor hung up.
    """
    url = urlsplit(server.url)
    with socket.create_connection((url.hostname, url.port), timeout=ANSWER_S) as connection:
        answer = b""
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(1 << 16):
                answer += part
        except (BrokenPipeError, ConnectionResetError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
        found = STATUS.match(answer)
        return int(found.group(1)) if found else None


def fuzz_http(server: Server, bundle: Path, count: int, seed: int = 0, advance: Callable[[], object] = int) -> Figures:
    """Send `count` mutated requests; what fails is kept in `CORPUS`.

    A failure is an answer of 500, none within `ANSWER_S`, or a server that is no longer there.
    """
    frame = good_frame(bundle)
    good, rng, figures = good_requests(frame), random.Random(seed), Figures()
    start, rss = time.perf_counter(), 0
    for number in range(count):
        _send(server, mutated_request(good, frame, rng), figures)
        if number == count // 10:
            rss = rss_bytes(server.process.pid)  # by now everything has been loaded once
        advance()
    figures.seconds = round(time.perf_counter() - start, 1)
    figures.rss_mib = round(rss_bytes(server.process.pid) / 2**20, 1)
    figures.rss_growth_mib = round(figures.rss_mib - rss / 2**20, 1)
    figures.by_status = dict(sorted(figures.by_status.items()))
    if get(server.url + "/readyz").status != 200 or exchange(server, good[0]) != 200:
        figures.failures.append("a good request is not answered any more")
    return figures


def _send(server: Server, data: bytes, figures: Figures) -> None:
    start = time.perf_counter()
    try:
        status = exchange(server, data)
        failure = f"answered {status}" if status == 500 else ""
    except OSError as error:
        status, failure = None, repr(error)
    figures.slowest_ms = round(max(figures.slowest_ms, (time.perf_counter() - start) * 1000), 1)
    figures.requests += 1
    figures.by_status[str(status or "closed")] = figures.by_status.get(str(status or "closed"), 0) + 1
    if failure:
        CORPUS.mkdir(exist_ok=True)
        name = f"{hashlib.sha256(data).hexdigest()[:12]}.http"
        (CORPUS / name).write_bytes(data)
        figures.failures.append(f"{name}: {failure}")


def rss_bytes(pid: int) -> int:
    """What a process has resident now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
