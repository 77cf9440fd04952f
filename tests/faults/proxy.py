"""A proxy between the two halves that misbehaves as it is told to, request by request. Knows HTTP/1.1's framing."""

from __future__ import annotations

import asyncio
import random
import threading
from dataclasses import dataclass
from typing import Any, Optional, Set, Tuple

CHUNK_BYTES = 512
GIVE_UP_S = 3.0  # a damaged head may promise a body that never comes
BEFORE, MIDDLE, AFTER = "before", "middle", "after"


@dataclass(frozen=True)
class Faults:
    """What happens to a share of the requests.

    Attributes:
        share: of the requests, that are hit.
        latency_s: before a request goes on, and before its answer does.
        jitter_s: at most so much more, each time.
        bytes_per_s: of the link, in each direction.
        lose: cut the connection "before" the request's body, in its "middle", or "after" it, before the answer.
        truncate: cut the connection in the middle of the answer.
        flip_request, flip_answer: bits that are flipped, anywhere in it.
        double: the request arrives twice, and so does the answer.
        previous: the answer to the previous request comes back, as from a bad cache.
        silent: nothing ever comes back.
    """

    share: float = 1.0
    latency_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float = 0.0
    lose: str = ""
    truncate: bool = False
    flip_request: int = 0
    flip_answer: int = 0
    double: bool = False
    previous: bool = False
    silent: bool = False


NONE = Faults(share=0.0)


class Proxy:
    """Listens on a port of its own while the `with` lasts.

    Attributes:
        faults: to be set at any time; counts for requests from then on.
        hits: how many requests were hit.
        url: for the client.
    """

    def __init__(self, port: int, seed: int = 0) -> None:
        self.faults, self.hits = NONE, 0
        self._upstream, self._rng = port, random.Random(seed)
        self._previous = b""
        self._open: Set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._server: Optional[asyncio.AbstractServer] = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.url = ""

    def __enter__(self) -> Proxy:
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self._server = started.result(10)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            assert self._server is not None
            self._server.close()
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def turn_to(self, port: int) -> None:
        """To another server, at once: connections to the one before are cut."""

        def cut() -> None:
            self._upstream = port
            for stream in self._open:
                stream.transport.abort()

        self._loop.call_soon_threadsafe(cut)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the client's, with one to the server behind it."""
        behind: Optional[asyncio.StreamWriter] = None
        self._open.add(writer)
        try:
            upstream, behind = await asyncio.open_connection("127.0.0.1", self._upstream)
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await self._pass_on(head, reader, writer, upstream, behind)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.TimeoutError, _LostError):
            pass  # either side is gone, or the fault says so
        finally:
            self._open.discard(writer)
            for stream in (writer, behind):
                if stream is not None:
                    stream.transport.abort()

    async def _pass_on(self, head: bytes, reader: Any, writer: Any, upstream: Any, behind: Any) -> None:
        """One request and its answer."""
        faults = self.faults
        if self._rng.random() >= faults.share:
            faults = NONE
        else:
            self.hits += 1
        if faults.lose == BEFORE:
            raise _LostError
        length = _length(head)
        if faults.lose == MIDDLE:
            behind.write(head + await reader.readexactly(length // 2))
            await behind.drain()
            raise _LostError
        request = head + await self._slowly(reader, length, faults)
        await self._wait(faults)
        for _ in range(2 if faults.double else 1):
            behind.write(self._flipped(request, faults.flip_request))
        await behind.drain()
        if faults.lose == AFTER:
            raise _LostError
        for _ in range(2 if faults.double else 1):
            answer = await asyncio.wait_for(self._answer(upstream), GIVE_UP_S)
            await self._send_back(answer, writer, faults)

    async def _answer(self, upstream: asyncio.StreamReader) -> bytes:
        head = await upstream.readuntil(b"\r\n\r\n")
        return head + await upstream.readexactly(_length(head))

    async def _send_back(self, answer: bytes, writer: Any, faults: Faults) -> None:
        if faults.silent:
            await asyncio.sleep(GIVE_UP_S)
            raise _LostError
        previous, self._previous = self._previous, answer
        if faults.previous and previous:
            answer = previous
        await self._wait(faults)
        answer = self._flipped(answer, faults.flip_answer)
        if faults.truncate:
            writer.write(answer[: len(answer) * 2 // 3])
            await writer.drain()
            raise _LostError
        for start in range(0, len(answer), CHUNK_BYTES):
            writer.write(answer[start : start + CHUNK_BYTES])
            await writer.drain()
            if faults.bytes_per_s:
                await asyncio.sleep(min(CHUNK_BYTES, len(answer) - start) / faults.bytes_per_s)

    async def _slowly(self, reader: asyncio.StreamReader, length: int, faults: Faults) -> bytes:
        """A body at the link's rate."""
        if not faults.bytes_per_s:
            return await reader.readexactly(length)
        body = b""
        while len(body) < length:
            chunk = await reader.readexactly(min(CHUNK_BYTES, length - len(body)))
            await asyncio.sleep(len(chunk) / faults.bytes_per_s)
            body += chunk
        return body

    async def _wait(self, faults: Faults) -> None:
        pause_s = faults.latency_s + self._rng.uniform(0, faults.jitter_s)
        if pause_s:
            await asyncio.sleep(pause_s)

    def _flipped(self, message: bytes, bits: int) -> bytes:
        damaged = bytearray(message)
        for _ in range(bits):
            bit = self._rng.randrange(8 * len(damaged))
            damaged[bit // 8] ^= 1 << bit % 8
        return bytes(damaged)


class _LostError(Exception):
    pass


def _length(head: bytes) -> int:
    """Content-Length, 0 where there is none or nonsense."""
    lines = (line.partition(b":") for line in head.split(b"\r\n"))
    told: Tuple[bytes, ...] = tuple(value.strip() for key, _, value in lines if key.lower() == b"content-length")
    return int(told[0]) if told and told[0].isdigit() else 0
