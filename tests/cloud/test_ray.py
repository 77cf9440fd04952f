"""Replicas on a local Ray cluster, under load: killed, updated, scaled. And that nothing else needs Ray."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Iterator

import pytest
import urllib3

from ppsplit.cli import main
from ppsplit.cloud import ray_cluster as clusters
from ppsplit.errors import ConfigError
from ppsplit.wire import FEATURES_TYPE
from ppsplit.wire.http import DIGEST_HEADER, REQUEST_ID_HEADER, digest_matches
from tests.cloud.ray_load import TOKEN, Cluster, Load, await_replicas, need_ray, ray_cluster
from tests.cloud.requests import frame
from tests.tiny_bundle import export_tiny

ONE_OF_EACH = "import ppsplit.cli.serve, ppsplit.cli.eval_infer, ppsplit.cloud.server, ppsplit.cloud.mount"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_tiny("raw", tmp_path_factory.mktemp("first"), cuts=("deep",))


@pytest.fixture(scope="module")
def other_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_tiny("raw", tmp_path_factory.mktemp("second"), cuts=("stem",))


@pytest.fixture(scope="module")
def cluster(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three replicas of the first bundle."""
    need_ray()
    with ray_cluster(bundle, 3, tmp_path_factory.mktemp("cluster")) as running:
        yield running


def test_nothing_imports_ray_unasked() -> None:
    code = f"{ONE_OF_EACH}; import sys; sys.exit('ray' in sys.modules or 'starlette' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_without_ray_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="make ray"):
        clusters.prepare_ray(None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--host", "0.0.0.0"], "--insecure"),
        (["--replicas", "0"], "0 to 0 replicas"),
        (["--replicas", "3", "--max-replicas", "2"], "3 to 2 replicas"),
        (["--replica-cpus", "0"], "0.0 CPUs"),
        (["--tokens", "nowhere"], "nowhere"),
        (["--bundle", "nowhere"], "nowhere"),
        (["--ray-address", "127.0.0.1:1"], "no Ray cluster"),
    ],
)
def test_what_cannot_be_served_is_told_before_anything_starts(
    bundle: Path, options: list[str], message: str, capfd: Any
) -> None:
    need_ray()
    named = [] if "--bundle" in options else ["--bundle", str(bundle)]
    assert main(["serve", "--ray", *named, *options]) == 1
    assert message in capfd.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_the_face_is_the_same(cluster: Cluster, bundle: Path, other_bundle: Path) -> None:
    def ask(body: bytes, **headers: str) -> urllib3.BaseHTTPResponse:
        sent = {"Content-Type": FEATURES_TYPE, REQUEST_ID_HEADER: "frame-7", "Authorization": f"Bearer {TOKEN}"}
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        return urllib3.request("POST", cluster.url + "/v1/infer", body=body, headers=sent, retries=False, timeout=20)

    answers = {
        200: ask(frame(bundle)),
        401: ask(frame(bundle), Authorization="Bearer another-token-than-it"),
        409: ask(frame(other_bundle)),
        413: ask(bytes(2**22)),
        415: ask(b"text", Content_Type="text/plain"),
        400: ask(b"no frame"),
        404: ask(frame(bundle, cut="nowhere")),
    }
    assert {answer.status: answer.status for answer in answers.values()} == {status: status for status in answers}
    for answer in answers.values():
        assert answer.headers[REQUEST_ID_HEADER] == "frame-7"
        assert digest_matches(answer.data, answer.headers[DIGEST_HEADER])
    assert answers[401].headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.slow
def test_a_replica_killed_under_load_loses_nothing(cluster: Cluster, bundle: Path) -> None:
    before = cluster.replicas()
    assert len(before) == 3
    with Load(cluster.url, bundle) as load:
        load.wait_for(100)
        os.kill(before[0], signal.SIGSTOP)  # so that some requests are with it when it dies
        time.sleep(1)
        os.kill(before[0], signal.SIGKILL)
        load.wait_for(100)
        await_replicas(cluster, lambda now: len(now) == 3 and before[0] not in now)
        load.wait_for(100)
    print(f"killed: {load.answered} answered, {load.retried} retries, longest {load.longest_s:.2f} s")
    assert load.faults == []
    assert load.retried > 0


@pytest.mark.slow
def test_an_update_under_load_loses_nothing(cluster: Cluster, bundle: Path, other_bundle: Path) -> None:
    before = set(cluster.replicas())
    with Load(cluster.url, bundle) as load:
        load.wait_for(100)
        cluster.redeploy("--replicas", "3", "--bundle", f"{other_bundle},{bundle}")  # the new one, and the old one, too
        load.wait_for(100)
        with Load(cluster.url, other_bundle) as new_load:
            new_load.wait_for(100)
    await_replicas(cluster, lambda now: len(now) == 3 and not before.intersection(now))
    for one in (load, new_load):
        print(f"updated: {one.answered} answered, {one.retried} retries, longest {one.longest_s:.2f} s")
        assert one.faults == []


@pytest.mark.slow
def test_replicas_follow_the_load(cluster: Cluster, other_bundle: Path) -> None:
    options = ["--replicas", "1", "--max-replicas", "3", "--max-batch", "1"]
    cluster.redeploy("--bundle", str(other_bundle), *options)
    await_replicas(cluster, lambda now: len(now) == 1)
    with Load(cluster.url, other_bundle, threads=12) as load:
        await_replicas(cluster, lambda now: len(now) >= 2)
        load.wait_for(100)
        most = len(cluster.replicas())
    print(f"scaled to {most}: {load.answered} answered, {load.retried} retries")
    assert most >= 2
    assert load.faults == []
