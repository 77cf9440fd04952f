"""Requests for `serve_load.py`, prepared in advance and sent by a process of its own that costs next to nothing.

`python benchmarks/load_client.py URL FRAMES SECONDS (closed CONNECTIONS | open RATE)` prints a JSON line for each
answer: when it was due (seconds from the start), latency_ms, status, code, retry_after, and of a right answer times_ms.

`closed` sends on each connection as soon as the last answer is there. `open` sends by a clock, as many boards that know
nothing of each other would (Poisson), whatever the server does; latency counts from when a request was due.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

CONTENT_TYPE = "application/x-ppsplit-features"
TIMEOUT_S = 30.0
IDLE_S = 15.0  # the server closes what is idle for 20
MAX_CONNECTIONS = 500  # beyond that requests wait for one here, and their latency says so
Connection = Tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Client:
    """Sends frames in turn and notes what comes back."""

    def __init__(self, url: str, frames: List[bytes]) -> None:
        host, _, port = url.partition("://")[2].partition(":")
        self._host, self._port = host, int(port)
        self._requests = [_request(host, frame) for frame in frames]
        self._idle: List[Tuple[float, Connection]] = []  # with the time of its last answer
        self._sent = 0
        self.answers: List[Dict[str, Any]] = []
        self.start_s = time.perf_counter()

    async def closed(self, connections: int, seconds: float) -> None:
        """As fast as the server answers, on so many connections."""

        async def one() -> None:
            while time.perf_counter() - self.start_s < seconds:
                await self.send(time.perf_counter())

        await asyncio.gather(*(one() for _ in range(connections)))

    async def open(self, rate: float, seconds: float) -> None:
        """So many each second on average."""
        chance, due_s, tasks = random.Random(7), 0.0, []
        places = asyncio.Semaphore(MAX_CONNECTIONS)
        while due_s < seconds:
            due_s += chance.expovariate(rate)
            await asyncio.sleep(max(0.0, self.start_s + due_s - time.perf_counter()))
            tasks.append(asyncio.ensure_future(self._in_place(places, self.start_s + due_s)))
        await asyncio.gather(*tasks)

    async def _in_place(self, places: asyncio.Semaphore, due_s: float) -> None:
        async with places:
            await self.send(due_s)

    async def send(self, due_s: float) -> None:
        """One request, on a connection that is free or a new one."""
        answer: Dict[str, Any] = {"due_s": round(due_s - self.start_s, 4)}
        connection: Optional[Connection] = None
        try:
            connection = await self._connection()
            request = self._requests[self._sent % len(self._requests)]
            self._sent += 1
            connection[1].write(request)
            answer.update(await asyncio.wait_for(_answer(connection[0]), TIMEOUT_S))
            self._idle.append((time.perf_counter(), connection))
        except (OSError, EOFError, ValueError, asyncio.TimeoutError) as error:
            answer.update(status=0, code=type(error).__name__)
            if connection is not None:
                connection[1].close()
        answer["latency_ms"] = round((time.perf_counter() - due_s) * 1000, 3)
        self.answers.append(answer)

    async def _connection(self) -> Connection:
        """The one that was used last, unless the server may be about to close even that; else a new one."""
        if self._idle:
            used_s, connection = self._idle.pop()
            if time.perf_counter() - used_s < IDLE_S:
                return connection
            connection[1].close()
            self.close()
        return await asyncio.open_connection(self._host, self._port)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        while self._idle:
            self._idle.pop()[1][1].close()


def _request(host: str, frame: bytes) -> bytes:
    head = f"POST /v1/infer HTTP/1.1\r\nHost: {host}\r\nContent-Type: {CONTENT_TYPE}\r\n"
    return f"{head}Content-Length: {len(frame)}\r\n\r\n".encode() + frame


async def _answer(reader: asyncio.StreamReader) -> Dict[str, Any]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    body = json.loads(await reader.readexactly(int(headers["content-length"])))
    status = int(head[0].split()[1])
    if status == 200:
        return {"status": status, "code": "ok", "times_ms": body["times_ms"], "found": len(body["detections"][0])}
    return {"status": status, "code": body["error"]["code"], "retry_after": headers.get("retry-after")}


async def _main(url: str, frames: Path, seconds: float, how: str, amount: float) -> None:
    client = Client(url, [path.read_bytes() for path in sorted(frames.iterdir())])
    await (client.closed(int(amount), seconds) if how == "closed" else client.open(amount, seconds))
    client.close()
    for answer in client.answers:
        print(json.dumps(answer))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4], float(sys.argv[5])))
