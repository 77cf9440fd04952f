"""The two halves as the processes they are in the field: a server, and an edge client, over a real socket."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Sequence

import urllib3

from ppsplit.errors import InferenceRuntimeError, PPSplitError

READY_TIMEOUT_S = 120


@contextlib.contextmanager
def running_server(bundle: Path, threads: int = 1) -> Iterator[str]:
    """Serve `bundle` on a free loopback port in a process of its own; yields its URL once it is ready.

    Raises:
        InferenceRuntimeError: it ended, or was not ready in time; its last words are in the message.
    """
    command = [sys.executable, "-u", "-m", "ppsplit", "serve", "--bundle", str(bundle), "--port", "0"]
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(
            [*command, "--threads", str(threads)], stdout=subprocess.PIPE, stderr=log, text=True, errors="replace"
        )
        try:
            yield _wait_ready(server, log)
        finally:
            server.terminate()
            try:
                server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait_ready(server: "subprocess.Popen[str]", log: Any) -> str:
    deadline = time.monotonic() + READY_TIMEOUT_S
    assert server.stdout is not None
    for line in server.stdout:
        found = re.search(r"https?://[\w.\[\]:-]+", line)
        if found:
            # nobody reads further, and a full pipe would stop the server
            threading.Thread(target=server.stdout.read, daemon=True).start()
            _poll_ready(found.group(0), deadline)
            return found.group(0)
    log.seek(0)
    raise InferenceRuntimeError(f"the server ended before it was ready: {log.read()[-500:].strip()}")


def _poll_ready(url: str, deadline: float) -> None:
    http = urllib3.PoolManager(retries=False, timeout=2.0)
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            if http.request("GET", f"{url}/readyz").status == 200:
                return
        time.sleep(0.1)
    raise InferenceRuntimeError(f"the server at {url} was not ready within {READY_TIMEOUT_S} s")


def run_edge(bundle: Path, images: Path, arguments: Sequence[str], pictures: Optional[Path] = None) -> Dict[str, Any]:
    """Run `python -m ppsplit.edge` over a folder in a process of its own; returns its JSON report.

    Args:
        pictures: folder for drawn pictures; None for none.

    Raises:
        PPSplitError: it failed; its error line is the message.
    """
    command = ["ppsplit.edge", "--bundle", str(bundle), "--input", str(images), *arguments]
    return _run_reporting([*command, *([] if pictures else ["--no-draw"])], pictures)


def run_whole_model(bundle: Path, images: Path, arguments: Sequence[str]) -> Dict[str, Any]:
    """Run `ppsplit infer` likewise; returns a report of the same form. Raises PPSplitError."""
    options = ["--bundle", str(bundle), "--input", str(images), "--draw", "false", *arguments]
    return _run_reporting(["ppsplit", "infer", *options])


def _run_reporting(module_and_arguments: Sequence[str], output: Optional[Path] = None) -> Dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        command = [
            sys.executable,
            "-m",
            *module_and_arguments,
            "--output",
            str(output or scratch),
            "--json",
            str(report),
        ]
        child = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if child.returncode != 0 or not report.is_file():
            words = (child.stderr or child.stdout).strip().splitlines()
            raise PPSplitError(f"{module_and_arguments[0]} failed: {words[-1] if words else child.returncode}")
        values: Dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return values
