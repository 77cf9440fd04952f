"""Downloads against a server of our own: resuming, wrong hashes, connections that end early, pip's archive."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from ppsplit import zoo
from ppsplit.errors import ConfigError, DownloadError
from ppsplit.zoo import ZOO, ZooFile, download, fetch, file_or_named, sources
from ppsplit.zoo.sources import BLOCK, HttpSource, PipSdistSource, take_member
from tests.zoo.file_server import serving_files

CONTENT = np.random.RandomState(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(sources, "PAUSE_S", 0.01)
    with serving_files({"/file": CONTENT}) as running:
        yield running


def zoo_file(*places, sha256: str = SHA256) -> ZooFile:
    return ZooFile("thing", "thing.bin", "yolov3_tiny", sha256, places)


def names_in(folder: Path) -> list:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_plain_download_and_none_the_second_time(server, tmp_path):
    file = zoo_file(HttpSource(f"{server.url}/file"))
    path = fetch(file, tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT and names_in(path.parent) == ["thing.bin"]
    assert fetch(file, path.parent) == path
    assert server.seen == [""]


def test_a_broken_connection_is_continued(server, tmp_path):
    server.cuts = [100_000, 50_000]
    path = fetch(zoo_file(HttpSource(f"{server.url}/file")), tmp_path)
    assert path.read_bytes() == CONTENT
    first = 100_000 // BLOCK * BLOCK  # whole blocks are kept
    assert server.seen == ["", f"bytes={first}-", f"bytes={first + 50_000 // BLOCK * BLOCK}-"]


def test_killed_midway_leaves_no_file_and_is_continued_by_the_next_call(server, tmp_path):
    server.cuts = [10_000] * 3
    with pytest.raises(DownloadError, match="(ended after|Connection|IncompleteRead).*run this again"):
        fetch(zoo_file(HttpSource(f"{server.url}/file")), tmp_path)
    assert names_in(tmp_path) == ["thing.bin.http.partial"]
    path = fetch(zoo_file(HttpSource(f"{server.url}/file")), tmp_path)
    assert path.read_bytes() == CONTENT and names_in(tmp_path) == ["thing.bin"]
    assert server.seen[-1] == f"bytes={3 * BLOCK}-"


def test_a_server_without_ranges_sends_everything_again(server, tmp_path):
    server.ranges, server.cuts = False, [100_000]
    assert fetch(zoo_file(HttpSource(f"{server.url}/file")), tmp_path).read_bytes() == CONTENT
    assert server.seen == ["", f"bytes={100_000 // BLOCK * BLOCK}-"]  # it was asked, and began from 0


@pytest.mark.parametrize("left", [b"damaged" * 1000, CONTENT + b"more"], ids=["damaged", "too long"])
def test_what_an_earlier_transfer_left_wrong_is_fetched_anew(server, tmp_path, left):
    (tmp_path / "thing.bin.http.partial").write_bytes(left)
    assert fetch(zoo_file(HttpSource(f"{server.url}/file")), tmp_path).read_bytes() == CONTENT
    assert server.seen == [f"bytes={len(left)}-", ""]
    assert names_in(tmp_path) == ["thing.bin"]


def test_a_length_that_is_no_number_is_left_to_the_hash(server, tmp_path):
    server.length = "abc"
    assert fetch(zoo_file(HttpSource(f"{server.url}/file")), tmp_path).read_bytes() == CONTENT


def test_a_partial_file_that_is_already_whole(server, tmp_path):
    (tmp_path / "thing.bin.http.partial").write_bytes(CONTENT)
    assert fetch(zoo_file(HttpSource(f"{server.url}/file")), tmp_path).read_bytes() == CONTENT
    assert server.seen == [f"bytes={len(CONTENT)}-"]


def test_a_wrong_hash_leaves_nothing(server, tmp_path):
    server.files["/file"] = CONTENT[:-1] + b"?"
    with pytest.raises(DownloadError, match=f"its sha256 is .*expected {SHA256[:12]}"):
        fetch(zoo_file(HttpSource(f"{server.url}/file")), tmp_path)
    assert names_in(tmp_path) == []


def test_a_wrong_file_under_the_name_is_replaced(server, tmp_path):
    (tmp_path / "thing.bin").write_bytes(b"old")
    assert fetch(zoo_file(HttpSource(f"{server.url}/file")), tmp_path).read_bytes() == CONTENT


def test_a_server_in_trouble_is_asked_again_but_not_one_that_says_no(server, tmp_path):
    server.statuses = [503, 503]
    assert fetch(zoo_file(HttpSource(f"{server.url}/file")), tmp_path / "a").read_bytes() == CONTENT
    assert len(server.seen) == 3
    server.statuses = [404] * 3
    with pytest.raises(DownloadError, match="404"):
        fetch(zoo_file(HttpSource(f"{server.url}/file")), tmp_path / "b")
    assert len(server.seen) == 4


def test_the_next_source_is_tried_and_all_reasons_are_told(server, tmp_path):
    nowhere = HttpSource("http://127.0.0.1:9/file")
    assert fetch(zoo_file(nowhere, HttpSource(f"{server.url}/file")), tmp_path / "a").read_bytes() == CONTENT
    server.statuses = [404]
    with pytest.raises(DownloadError) as caught:
        fetch(zoo_file(nowhere, HttpSource(f"{server.url}/file")), tmp_path / "b")
    assert all(part in str(caught.value) for part in ("127.0.0.1:9", "404", "by hand"))


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "thing-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as package:
        for name in ("thing-1.0/data/thing.bin", "thing-1.0/setup.py"):
            entry = tarfile.TarInfo(name)
            entry.size = len(CONTENT)
            package.addfile(entry, io.BytesIO(CONTENT))
    return path


def test_one_member_of_an_archive(archive, tmp_path):
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    target = tmp_path / "out"
    take_member(archive, sha256, "thing-1.0/data/thing.bin", target)
    assert target.read_bytes() == CONTENT and names_in(tmp_path) == ["out", archive.name]
    with pytest.raises(DownloadError, match="no readable"):
        take_member(archive, sha256, "thing-1.0/other", target)
    with pytest.raises(DownloadError, match="another sha256"):
        take_member(archive, SHA256, "thing-1.0/data/thing.bin", target)


def test_the_registry_source_asks_pip_with_the_hash(archive, tmp_path, monkeypatch):
    asked = []

    def fake_pip(command, **_):
        asked.extend(command)
        asked.append(Path(command[command.index("-r") + 1]).read_text())
        target = Path(command[command.index("-d") + 1])
        target.mkdir()
        (target / archive.name).write_bytes(archive.read_bytes())
        return sources.subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(sources.subprocess, "run", fake_pip)
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    source = PipSdistSource("thing==1.0", sha256, "thing-1.0/data/thing.bin")
    assert fetch(zoo_file(source), tmp_path / "a").read_bytes() == CONTENT
    assert {"--require-hashes", "--no-deps", ":all:"} <= set(asked)
    assert asked[-1] == f"thing==1.0 --hash=sha256:{sha256}\n"


def test_pip_that_fails_is_told_by_its_last_line(tmp_path, monkeypatch):
    def failing_pip(command, **_):
        return sources.subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: no such package\n")

    monkeypatch.setattr(sources.subprocess, "run", failing_pip)
    with pytest.raises(DownloadError, match="pip: ERROR: no such package"):
        fetch(zoo_file(PipSdistSource("thing==1.0", "0" * 64, "x")), tmp_path)


def test_the_table():
    with pytest.raises(ConfigError, match="yolov3-tiny"):
        download("yolov9")
    for name, file in ZOO.items():
        assert file.name == name and file.sources
        assert len(bytes.fromhex(file.sha256)) == 32


def test_a_file_or_a_name(tmp_path, monkeypatch):
    path = tmp_path / "own.weights"
    path.write_bytes(b"")
    assert file_or_named(path) == path
    monkeypatch.setattr(zoo, "download", lambda name, directory: directory / name)
    assert file_or_named(Path("yolov3-tiny"), tmp_path) == tmp_path / "yolov3-tiny"
    with pytest.raises(ConfigError, match=r"gone.weights is neither a file nor a name.*yolov3-tiny"):
        file_or_named(tmp_path / "gone.weights")
