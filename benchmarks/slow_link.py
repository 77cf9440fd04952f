"""A link with a latency and a rate of its own between two sockets, for benchmarks: bytes come later, none are lost."""

from __future__ import annotations

import asyncio
import threading
import time
from types import TracebackType
from typing import Dict, List, Optional, Tuple, Type

CHUNK_BYTES = 1460  # a segment's
BUFFERED_CHUNKS = 11  # some 16 kB of a connection may wait for the link
UP, DOWN = "up", "down"


class SlowLink:
    """Listens on a port of its own while the `with` lasts, and passes everything on.

    Args:
        port: of the server behind it.
        latency_ms: one way.
        bytes_per_s: in each direction, shared by all connections; 0 for no limit. Both may be changed at any time.

    Attributes:
        url: to use in the server's place.
    """

    def __init__(self, port: int, latency_ms: float = 0.0, bytes_per_s: float = 0.0) -> None:
        self.latency_ms, self.bytes_per_s, self.url = latency_ms, bytes_per_s, ""
        self._port = port
        self._turns: Dict[str, asyncio.Lock] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> SlowLink:
        self._thread.start()
        listening = asyncio.start_server(self._serve, "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(listening, self._loop).result(10)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        async def end() -> None:
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._turns = self._turns or {UP: asyncio.Lock(), DOWN: asyncio.Lock()}  # of this loop
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self._port)
        ways = [self._way(reader, behind_writer, UP), self._way(behind_reader, writer, DOWN)]
        tasks: List[asyncio.Task[None]] = [asyncio.ensure_future(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for stream in (writer, behind_writer):
                stream.transport.abort()

    async def _way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        """One direction of a connection, until it ends."""
        waiting: asyncio.Queue[Tuple[float, bytes]] = asyncio.Queue(BUFFERED_CHUNKS)
        travelling: asyncio.Queue[Tuple[float, bytes]] = asyncio.Queue()
        steps = [asyncio.ensure_future(self._send(waiting, travelling, self._turns[direction]))]
        steps.append(asyncio.ensure_future(_arrive(travelling, writer)))
        try:
            while True:
                chunk = await reader.read(CHUNK_BYTES)
                await waiting.put((0.0, chunk))
                if not chunk:
                    await asyncio.gather(*steps)
                    return
        except OSError:
            return
        finally:
            for step in steps:
                step.cancel()

    async def _send(
        self,
        waiting: asyncio.Queue[Tuple[float, bytes]],
        travelling: asyncio.Queue[Tuple[float, bytes]],
        turn: asyncio.Lock,
    ) -> None:
        """Onto the link, at its rate as it is then, one piece of all connections at a time."""
        while True:
            _, chunk = await waiting.get()
            async with turn:
                if self.bytes_per_s:
                    await asyncio.sleep(len(chunk) / self.bytes_per_s)
            travelling.put_nowait((time.monotonic() + self.latency_ms / 1000, chunk))
            if not chunk:
                return


async def _arrive(travelling: asyncio.Queue[Tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    while True:
        due, chunk = await travelling.get()
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        if not chunk:
            return  # the end, which comes after everything before it
        writer.write(chunk)
        await writer.drain()
