"""What `serve_load.py` needs: frames of real photos, servers in processes of their own, and answers of the client."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import numpy as np
import urllib3

from ppsplit.bundle import HEAD, Bundle
from ppsplit.codec import Codec
from ppsplit.errors import InferenceRuntimeError
from ppsplit.image import read_image, to_input
from ppsplit.runtime import run_part
from ppsplit.runtime.choice import load_part
from ppsplit.wire import FeatureMessage, WireTensor, pack

CLIENT = Path(__file__).with_name("load_client.py")
READY_S = 120
ENCODE_RUNS = 20


@dataclass
class Server:
    """A running server.

    Attributes:
        url: where it answers.
        process: its process.
    """

    url: str
    process: "subprocess.Popen[str]"

    def rss_mib(self) -> float:
        """Its resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
        return int(found[1]) / 1024 if found else float("nan")

    def cpu_s(self) -> float:
        """Processor time that all its threads have taken, in seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def write_frames(bundle: Bundle, photos: Sequence[Path], encoding: str, folder: Path) -> Tuple[int, float]:
    """A features frame for each photo, made by the bundle's own head.

    Returns:
        mean bytes of a frame, and the median time that encoding and packing one takes, in ms.
    """
    cut = bundle.cut()
    head, codec = load_part(bundle, cut, HEAD, "paddle"), Codec(bundle, cut, encoding)
    sizes: List[int] = []
    times_ms: List[float] = []
    for number, photo in enumerate(photos):
        tensor, _ = to_input(read_image(photo), bundle.manifest.preprocess)
        features = run_part(head, {bundle.manifest.input.name: tensor}, [spec.name for spec in cut.tensors])
        for _ in range(ENCODE_RUNS):
            start = time.perf_counter()
            tensors = tuple(WireTensor(*one) for one in codec.encode(features))
            frame = pack(FeatureMessage(bundle.manifest.fingerprint, cut.name, encoding, tensors))
            times_ms.append((time.perf_counter() - start) * 1000)
        (folder / f"{number:04d}.ppsf").write_bytes(frame)
        sizes.append(len(frame))
    return int(np.mean(sizes)), float(np.median(times_ms))


@contextlib.contextmanager
def running(bundle: Path, *options: str) -> Iterator[Server]:
    """`ppsplit serve` on a free port, once it is ready.

    Raises:
        InferenceRuntimeError: it ended, or was not ready in time.
    """
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    command = [sys.executable, "-m", "ppsplit", "serve", "--bundle", str(bundle), "--port", "0", *options]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            if not found:
                log.seek(0)
                raise InferenceRuntimeError(f"the server ended: {log.read()[-500:].strip()}")
            server = Server(found[0], process)
            _wait_ready(server)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_ready(server: Server) -> None:
    end = time.monotonic() + READY_S
    while urllib3.request("GET", server.url + "/readyz", retries=False, timeout=10).status != 200:
        if time.monotonic() > end or server.process.poll() is not None:
            raise InferenceRuntimeError(f"the server was not ready within {READY_S} s")
        time.sleep(0.1)


def start_client(server: Server, frames: Path, seconds: float, how: str, amount: float) -> "subprocess.Popen[str]":
    """The client at work; see `load_client.py` for `how` and `amount`."""
    command = [sys.executable, str(CLIENT), server.url, str(frames), str(seconds), how, str(amount)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def answers_of(client: "subprocess.Popen[str]") -> List[Dict[str, Any]]:
    """All its answers, once it has ended. Raises InferenceRuntimeError: it failed."""
    output, _ = client.communicate()
    if client.returncode != 0:
        raise InferenceRuntimeError("the load client failed; its last words are above")
    return [json.loads(line) for line in output.splitlines()]
