"""A Ray cluster of the real command, and clients that load it as the edge does."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence

import numpy as np
import pytest

from ppsplit.bundle import Bundle
from ppsplit.cloud.engine import Engine
from ppsplit.codec import EncodedTensor, FeatureCodec
from ppsplit.edge.link import Link
from ppsplit.errors import PPSplitError
from ppsplit.wire import FEATURES_TYPE, TensorMessage, pack, unpack
from tests.cloud.requests import features_message

VALUES = (0.1, 0.4, 0.7, 1.0)
REPLICA, STARTING = "ray::ServeReplica", ".initialize"  # the names that Ray gives their processes
TOKEN = "a-token-of-some-length"


class Cluster(NamedTuple):
    """`tools/serve.py --ray`, running."""

    url: str
    process: "subprocess.Popen[str]"
    address: str
    options: List[str]

    def replicas(self) -> List[int]:
        """Process ids of the replicas of this cluster that serve now; those that still start are not counted."""
        seen = list(_processes())
        parents = {pid: parent for pid, parent, _ in seen}
        named = [pid for pid, _, name in seen if name.startswith(REPLICA) and STARTING not in name]
        return [pid for pid in named if self.process.pid in _ancestors(pid, parents)]

    def redeploy(self, *options: str) -> str:
        """Serve otherwise from the same cluster, by a second command; returns what it printed."""
        command = [sys.executable, "tools/serve.py", "--ray", "--ray-address", self.address, *self.options, *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextlib.contextmanager
def ray_cluster(bundle: Path, replicas: int, folder: Path) -> Iterator[Cluster]:
    """Replicas of `bundle` behind a free port, with a token; all processes end with the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    tokens = folder / "tokens"
    tokens.write_text(TOKEN + "\n")
    scratch = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # the paths of sockets in it must be short
    environment = {**os.environ, "RAY_TMPDIR": scratch}
    options = ["--port", str(port), "--replica-cpus", "0.5", "--tokens", str(tokens)]
    command = [sys.executable, "-u", "tools/serve.py", "--ray", "--bundle", str(bundle), "--replicas", str(replicas)]
    log = folder / "stderr"
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=log.open("w"), text=True, env=environment
    )
    try:
        assert process.stdout is not None
        found = next(filter(None, (re.search(r"--ray-address (\S+)", line) for line in process.stdout)), None)
        assert found, log.read_text()[-2000:]
        threading.Thread(target=process.stdout.read, daemon=True).start()  # a full pipe would stop it
        yield Cluster(f"http://127.0.0.1:{port}", process, found[1], options)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        process.kill()
        shutil.rmtree(scratch, ignore_errors=True)


class Load:
    """Threads that send frames of a bundle, each through an edge's link, and compare every answer.

    Attributes:
        answered: how many frames were answered rightly.
        faults: what went wrong: a wrong answer, or an error that the link did not get over.
        retried: pauses before another attempt.
        longest_s: of a frame, retries included.
    """

    def __init__(self, url: str, bundle: Path, threads: int = 6) -> None:
        self.answered, self.retried, self.longest_s = 0, 0, 0.0
        self.faults: List[str] = []
        self._url, self._bundle = url, Bundle.open(bundle)
        self._stopped, self._lock = threading.Event(), threading.Lock()
        self._frames = [pack(features_message(bundle, value=value)) for value in VALUES]
        self._expected = expected_outputs(bundle)
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int, seconds: float = 240) -> None:
        """Until so many more frames are answered."""
        until, end = self.answered + more, time.monotonic() + seconds
        while self.answered < until:
            assert time.monotonic() < end, f"only {self.answered} of {until} were answered; {self.faults[:3]}"
            time.sleep(0.05)

    def _send(self, number: int) -> None:
        link = Link(self._url, token=TOKEN, sleep=self._pause)  # retries as the edge does unless told otherwise
        while not self._stopped.is_set():
            number = (number + 1) % len(VALUES)
            began_s = time.monotonic()
            try:
                reply = link.post("/v1/infer", self._frames[number], FEATURES_TYPE)
                fault = wrong(reply.body, self._bundle, self._expected[number])
            except PPSplitError as error:
                fault = f"{type(error).__name__}: {error}"
            with self._lock:
                self.longest_s = max(self.longest_s, time.monotonic() - began_s)
                self.answered += not fault
                self.faults += [fault] if fault else []
        link.close()

    def _pause(self, seconds: float) -> None:
        with self._lock:
            self.retried += 1
        time.sleep(seconds)


def expected_outputs(bundle: Path) -> List[Dict[str, np.ndarray]]:
    """What the engine, in this process, makes of each value's features."""
    engine = Engine(Bundle.open(bundle))
    found = []
    for value in VALUES:
        outputs = engine.infer(features_message(bundle, value=value)).outputs
        assert outputs is not None
        found.append(outputs)
    engine.close()
    assert not np.allclose(*(next(iter(outputs.values())) for outputs in found[:2]), atol=1e-2)  # else none is wrong
    return found


def wrong(body: bytes, bundle: Bundle, expected: Dict[str, np.ndarray]) -> str:
    """What is wrong with an answer; "" where nothing is."""
    message = unpack(body)
    if not isinstance(message, TensorMessage) or message.bundle != bundle.manifest.fingerprint:
        return f"the answer is another's: {message}"
    encoded = [EncodedTensor(*tensor) for tensor in message.tensors]
    outputs = FeatureCodec(bundle.manifest.outputs, message.encoding, {}).decode(encoded)
    off = {name: float(np.abs(outputs[name] - array).max()) for name, array in expected.items()}
    return "" if max(off.values()) < 1e-4 else f"outputs are off by {off}"


def await_replicas(cluster: Cluster, condition: Any, seconds: float = 240) -> None:
    """Wait until `condition` holds of the list of process ids."""
    end = time.monotonic() + seconds
    while not condition(cluster.replicas()):
        assert time.monotonic() < end, f"replicas are {cluster.replicas()}"
        time.sleep(0.2)


def _processes() -> Iterator[Any]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                name = (folder / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                yield int(folder.name), int(parent), name


def _ancestors(pid: int, parents: Dict[int, int]) -> Sequence[int]:
    found = []
    while pid in parents:
        pid = parents[pid]
        found.append(pid)
    return found


def need_ray() -> None:
    """Skip where Ray is not installed."""
    pytest.importorskip("ray", reason="Ray is not installed; `make ray` puts it on top of .venv")
