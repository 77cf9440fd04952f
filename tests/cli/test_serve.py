"""`ppsplit serve` as a process: several bundles, tokens, logs, new versions, and its end under load."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

import pytest
import urllib3

from ppsplit.bundle import Bundle, write_manifest
from ppsplit.runtime.compute import BF16_FLAGS, cpu_flags
from ppsplit.wire import pack
from tests.cloud.requests import features_message, frame
from tests.cloud.running import post, until
from tests.tiny_bundle import get

TOKEN = "a-token-of-24-characters"


class Served(NamedTuple):
    """A process, where it answers, and its error stream."""

    url: str
    process: "subprocess.Popen[str]"
    log: Path

    def lines(self) -> List[Dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]


@contextlib.contextmanager
def serving(log: Path, *arguments: str) -> Iterator[Served]:
    command = [sys.executable, "-m", "ppsplit", "serve", "--port", "0", *arguments]
    with open(log, "w") as stream, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stream, text=True) as done:
        try:
            assert done.stdout is not None
            found = re.search(r"http://\S+", done.stdout.readline())
            assert found, log.read_text()
            until(lambda: get(found[0] + "/readyz").status == 200, 60)
            yield Served(found[0], done, log)
        finally:
            done.kill()


def test_two_bundles_behind_a_token_with_json_logs(tiny_bundle: Path, raw_bundle: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN)
    known = {"Authorization": f"Bearer {TOKEN}", "PPSplit-Request-Id": "frame-7"}
    bundles = f"{tiny_bundle},{raw_bundle}"
    with serving(tmp_path / "log", "--bundle", bundles, "--tokens", str(tokens), "--log", "json") as served:
        for bundle in (tiny_bundle, raw_bundle):
            assert post(served.url + "/v1/infer", frame(bundle)).status == 401
            answer = post(served.url + "/v1/infer", frame(bundle), headers=known)
            assert (answer.status, answer.headers["PPSplit-Request-Id"]) == (200, "frame-7")
        tokens.write_text("another-token-of-many-characters")
        assert post(served.url + "/v1/infer", frame(tiny_bundle), headers=known).status == 401
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(20) == 0
        lines = [line for line in served.lines() if line.get("path") == "/v1/infer"]
        assert [line["status"] for line in lines] == [401, 200, 401, 200, 401]
        assert lines[1]["request_id"] == "frame-7"
        assert lines[1]["client"].startswith("token-")
        assert TOKEN not in served.log.read_text()


def test_it_ends_with_0_under_load_and_loses_nothing_it_took_on(tiny_bundle: Path, tmp_path: Path) -> None:
    body, statuses, lost = frame(tiny_bundle), [], []  # type: ignore[var-annotated]
    with serving(tmp_path / "log", "--bundle", str(tiny_bundle)) as served:

        def ask() -> None:
            pool = urllib3.PoolManager(retries=False, timeout=20)
            while True:
                try:
                    headers = {"Content-Type": "application/x-ppsplit-features"}
                    statuses.append(pool.request("POST", served.url + "/v1/infer", body=body, headers=headers).status)
                except urllib3.exceptions.HTTPError as error:
                    lost.append(error)
                    return

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: len(statuses) > 40)
        served.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(20)
        assert served.process.wait(20) == 0
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) > 40
    # each client saw its last connection refused, or closed before an answer began; none in the middle of one
    closed = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ProtocolError)
    assert all(isinstance(error, closed) for error in lost)
    assert not any("IncompleteRead" in str(error) for error in lost)


def test_a_new_version_is_served_without_a_restart(tiny_bundle: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(tiny_bundle, tmp_path / "served"))
    old = Bundle.open(path).manifest
    with serving(tmp_path / "log", "--bundle", str(path), "--unload-after-s", "1") as served:
        new = write_manifest(path, dataclasses.replace(old, name="second"))
        until(lambda: get(served.url + "/v1/bundle").json()["fingerprint"] == new.fingerprint, 30)
        message = features_message(path)
        assert post(served.url + "/v1/infer", pack(message)).status == 200
        before = dataclasses.replace(message, bundle=old.fingerprint)
        until(lambda: post_after(2.5, served.url, pack(before)) == 409, 30)
        assert [one["fingerprint"] for one in get(served.url + "/v1/bundles").json()] == [new.fingerprint]
        assert "is no longer asked for" in served.log.read_text()


def post_after(seconds: float, url: str, body: bytes) -> Optional[int]:
    time.sleep(seconds)  # nobody asks meanwhile
    return int(post(url + "/v1/infer", body).status)


def test_bfloat16(tiny_bundle: Path, tmp_path: Path) -> None:
    arguments = ("--bundle", str(tiny_bundle), "--precision", "bf16")
    if not cpu_flags().intersection(BF16_FLAGS):
        command = [sys.executable, "-m", "ppsplit", "serve", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, "slower than fp32" in done.stderr) == (1, True)
        pytest.skip("this processor has no bfloat16; that was said")
    with serving(tmp_path / "log", *arguments) as served:
        answer = post(served.url + "/v1/infer", frame(tiny_bundle)).json()
    assert answer["times_ms"]["tail"] > 0
    assert not (tmp_path / "log").read_text()  # Paddle's passes are talkative


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rate", "often"), "20/second"),
        (("--max-requests", "0"), "max_requests"),
        (("--max-batch", "0"), "max_batch"),
        (("--timeout-s", "-1"), "timeout_s"),
        (("--tokens", "/nowhere/tokens"), "cannot read"),
        (("--device", "gpu", "--runtime", "openvino"), "only --runtime paddle"),
        (("--host", "0.0.0.0"), "--insecure"),
    ],
)
def test_senseless_options_are_one_clear_line(tiny_bundle: Path, arguments: Any, said: str, capsys: Any) -> None:
    from ppsplit.cli import main

    assert main(["serve", "--bundle", str(tiny_bundle), "--port", "0", *arguments]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]


def test_a_gpu_that_is_not_there_is_refused_at_the_start(tiny_bundle: Path, capsys: Any) -> None:
    from ppsplit.cli import main
    from ppsplit.paddle_first import paddle

    if paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count():
        pytest.skip("there is one")
    assert main(["serve", "--bundle", str(tiny_bundle), "--port", "0", "--device", "gpu"]) == 1
    assert "no GPU to use" in capsys.readouterr().err
