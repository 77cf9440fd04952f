"""`python -m ppsplit.edge` from its arguments to its files and its exit code."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import cv2
import numpy as np
import pytest

from ppsplit.bundle import Bundle
from ppsplit.cloud.tail import run_tail
from ppsplit.codec import MAX_BATCH
from ppsplit.edge.__main__ import main
from ppsplit.edge.timing import STAGES
from tests.edge.scripted_server import answer, hang_up, scripted
from tests.tiny_bundle import CLASS_NAMES, Server, serving, write_photos


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


class Run:
    """Runs the client on some photos into a fresh folder."""

    def __init__(self, bundle: Path, photos: Path, output: Path, url: str) -> None:
        self.output = output
        self._arguments = ["--bundle", str(bundle), "--input", str(photos), "--output", str(output)]
        self._url = url

    def __call__(self, *arguments: str) -> int:
        server = [] if "--server" in arguments else ["--server", self._url]  # a second one would be asked, too
        return main([*self._arguments, *server, *arguments])

    def report(self) -> Dict[str, Any]:
        return json.loads((self.output / "detections.json").read_text())

    def files(self) -> List[str]:
        return sorted(path.name for path in self.output.iterdir())


@pytest.fixture
def client(tiny_bundle: Path, photos: Path, tmp_path: Path, tiny_server: Server) -> Run:
    return Run(tiny_bundle, photos, tmp_path / "out", tiny_server.url)


def one_error_line(captured: Any) -> str:
    lines = captured.err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert "Traceback" not in captured.err
    return lines[-1]


def test_a_folder_gives_pictures_a_report_and_a_summary(client: Run, capsys: Any) -> None:
    assert client() == 0
    assert client.files() == ["0.png", "1.png", "2.png", "detections.json"]
    report = client.report()
    assert {k: report[k] for k in ("cut", "encoding", "runtime", "precision")} == {
        "cut": "deep",
        "encoding": "uint8",
        "runtime": "lite",
        "precision": "fp32",
    }
    assert [Path(image["image"]).name for image in report["images"]] == ["0.png", "1.png", "2.png"]
    assert {d["class_name"] for image in report["images"] for d in image["detections"]} <= set(CLASS_NAMES)
    assert all(image["payload_bytes"] > 100 and list(image["times_ms"]) == list(STAGES) for image in report["images"])
    summary = report["summary"]
    assert list(summary["times_ms"]) == [*STAGES, "total"]
    assert summary["payload_bytes_p95"] == max(image["payload_bytes"] for image in report["images"])
    assert summary["peak_rss_bytes"] > 20e6
    printed = capsys.readouterr().out
    for word in ("head ms", "encode ms", "network ms", "tail ms", "decode ms", "sent bytes, mean"):
        assert word in printed


@pytest.mark.parametrize(
    "arguments",
    [
        ["--encoding", "fp32", "--runtime", "paddle"],
        ["--encoding", "uint4", "--cut", "stem", "--precision", "fp32", "--target", "x86"],
        ["--batch-size", "2", "--rounds", "3", "--threads", "2"],
        ["--local", "--cut", "output"],
        ["--jpeg", "75"],
        ["--score-threshold", "0.01", "--max-detections", "5", "--timeout", "9", "--retries", "0"],
    ],
)
def test_every_way_gives_a_report(client: Run, arguments: List[str], tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / "report.json"
    assert client(*arguments, "--json", str(path), "--no-draw") == 0
    report = json.loads(path.read_text())
    assert len(report["images"]) == 3
    assert (report["summary"]["payload_bytes_mean"] == 0) == ("--local" in arguments)
    assert not client.output.exists()


def test_the_fastest_runtime_is_found_by_trying(client: Run, caplog: pytest.LogCaptureFixture) -> None:
    assert client("--runtime", "fastest") == 0
    chosen = client.report()["runtime"]
    assert chosen in ("lite", "paddle", "openvino")
    assert f"--runtime {chosen}" in caplog.text and "lite" in caplog.text and "paddle" in caplog.text


def test_rounds_do_not_change_what_is_found(client: Run) -> None:
    assert client("--rounds", "3") == 0
    thrice = [image["detections"] for image in client.report()["images"]]
    assert client() == 0
    assert [image["detections"] for image in client.report()["images"]] == thrice


def test_a_single_picture(client: Run, photos: Path) -> None:
    assert client("--input", str(photos / "1.png")) == 0
    assert client.files() == ["1.png", "detections.json"]


def test_drawn_pictures_keep_their_size_and_show_something(client: Run, photos: Path) -> None:
    shutil.copy(photos / "0.png", photos / "0.bmp")
    assert client("--score-threshold", "0.05") == 0
    assert "0.bmp.jpg" in client.files()
    before, after = cv2.imread(str(photos / "1.png")), cv2.imread(str(client.output / "1.png"))
    assert before.shape == after.shape
    assert (before != after).any()


def test_one_bad_picture_among_good_ones_is_skipped_by_name(client: Run, photos: Path, capsys: Any) -> None:
    (photos / "1.png").write_bytes(b"not a picture")
    (photos / "9.jpg").write_bytes(b"")
    assert client("--rounds", "2", "--batch-size", "2") == 0
    assert [Path(image["image"]).name for image in client.report()["images"]] == ["0.png", "2.png"]
    assert len(client.report()["summary"]["skipped"]) == 2
    warned = capsys.readouterr().err.splitlines()
    assert [("1.png" in line, "9.jpg" in line) for line in warned] == [(True, False), (False, True)]


def test_nothing_but_bad_pictures_is_an_error(client: Run, photos: Path, capsys: Any) -> None:
    for path in photos.iterdir():
        path.write_bytes(b"x")
    assert client() == 1
    assert "none of the 3 images" in one_error_line(capsys.readouterr())
    assert client("--input", str(photos / "0.png")) == 1
    assert "0.png" in one_error_line(capsys.readouterr())
    assert not client.output.exists()


def test_nobody_at_the_servers_address_is_one_line_and_exit_code_1(client: Run, capsys: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert client("--server", url, "--retries", "1") == 1
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1
    line = one_error_line(captured)
    assert f"cannot reach the server at {url} (Connection refused)" in line and line.endswith("(2 attempts)")


def test_a_server_that_says_no_is_one_line(client: Run, capsys: Any) -> None:
    body = b'{"error": {"code": "too_large", "message": "less, please"}}'
    with scripted([answer(413, body)]) as (url, _):
        assert client("--server", url) == 1
    assert one_error_line(capsys.readouterr()).endswith("said no (413 too_large): less, please")


def test_a_server_killed_in_the_middle_is_one_line(
    tiny_bundle: Path, photos: Path, tmp_path: Path, capsys: Any
) -> None:
    with serving(tiny_bundle) as server:
        run = Run(tiny_bundle, photos, tmp_path / "out", server.url)
        assert run() == 0
        server.process.kill()
        server.process.wait()
        assert run("--retries", "1") == 1
    one_error_line(capsys.readouterr())


def test_a_server_that_is_busy_for_a_while_loses_no_picture(client: Run, tiny_bundle: Path) -> None:
    fingerprint = Bundle.open(tiny_bundle).manifest.fingerprint
    body = json.dumps({"bundle": fingerprint, "cut": "deep", "detections": [[]], "times_ms": {}}).encode()
    busy, fine = answer(503, b"", "Retry-After: 0"), answer(200, body)
    with scripted([busy, busy, fine, busy, hang_up, fine, fine]) as (url, done):
        assert client("--server", url) == 0
    assert len(done) == 7
    assert len(client.report()["images"]) == 3


def test_a_server_that_is_lost_on_the_way_leaves_what_was_done(client: Run, tiny_bundle: Path, capsys: Any) -> None:
    fingerprint = Bundle.open(tiny_bundle).manifest.fingerprint
    body = json.dumps({"bundle": fingerprint, "cut": "deep", "detections": [[]], "times_ms": {}}).encode()
    with scripted([answer(200, body), answer(200, body), hang_up]) as (url, _):
        assert client("--server", url, "--retries", "0") == 1
    assert "cannot reach the server" in one_error_line(capsys.readouterr())
    report = client.report()
    assert [Path(image["image"]).name for image in report["images"]] == ["0.png", "1.png"]
    assert "cannot reach the server" in report["error"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bundle", "/nowhere"], "no bundle at /nowhere"),
        (["--input", "/nowhere"], "/nowhere does not exist"),
        (["--cut", "nowhere"], "no cut 'nowhere'"),
        (["--precision", "int8"], "no head for lite"),
        (["--server", "127.0.0.1:80"], "address"),
        (["--local"], "no tail for lite"),
        (["--batch-size", "0"], "batch_size is 0"),
        (["--batch-size", "999"], "batch_size is 999"),
        (["--rounds", "-1"], "rounds is -1"),
        (["--score-threshold", "1.5"], "score_threshold must be a number from 0 to 1, got 1.5"),
        (["--max-detections", "0"], "max_detections must be a whole number from 1"),
        (["--threads", "0"], "threads is 0"),
        (["--jpeg", "0"], "--jpeg is 0"),
        (["--timeout", "0"], "--timeout"),
        (["--no-tail"], "for streams"),
        (["--depth", "1"], "for streams"),
        (["--json", "/proc/nowhere/report.json"], "/proc/nowhere"),
    ],
)
def test_every_mistake_is_one_line_and_exit_code_1(client: Run, capsys: Any, arguments: List[str], words: str) -> None:
    assert client(*arguments) == 1
    assert words in one_error_line(capsys.readouterr())


@pytest.mark.parametrize(
    "arguments", [["--local", "--jpeg", "75"], ["--encoding", "uint2"], ["--unknown"], ["--enc", "fp32"]]
)
def test_what_argparse_refuses_ends_with_2(client: Run, arguments: List[str], capsys: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        client(*arguments)
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_the_folder_of_the_pictures_is_never_the_output(client: Run, photos: Path, capsys: Any) -> None:
    before = (photos / "0.png").read_bytes()
    for source in (photos, photos / "0.png"):
        assert client("--input", str(source), "--output", str(photos)) == 1
        assert "where the input lies" in one_error_line(capsys.readouterr())
    assert (photos / "0.png").read_bytes() == before


def test_debug_shows_where_it_came_from(client: Run, capsys: Any) -> None:
    assert client("--cut", "nowhere", "--debug") == 1
    captured = capsys.readouterr().err
    assert "Traceback" in captured
    assert captured.strip().splitlines()[-1].startswith("error: ")


def test_features_by_hand_give_what_the_server_gives(
    client: Run, tiny_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    file = tmp_path / "by-hand" / "features.ppsf"
    nobody = ["--server", "http://127.0.0.1:1"]
    assert client("--save-features", str(file), "--encoding", "fp16", *nobody) == 0
    assert not client.output.exists()
    by_hand = run_tail(tiny_bundle, file).detections
    assert client("--encoding", "fp16") == 0
    served = [image["detections"] for image in client.report()["images"]]
    assert by_hand is not None
    assert [len(found) for found in by_hand] == [len(found) for found in served]
    for found, records in zip(by_hand, served):
        np.testing.assert_allclose(found.scores, [record["score"] for record in records], atol=1e-4)
    write_photos(photos, MAX_BATCH + 1)
    assert client("--save-features", str(file)) == 1  # too many for one frame


def test_family_raw_writes_arrays(raw_bundle: Path, photos: Path, tmp_path: Path) -> None:
    run = Run(raw_bundle, photos, tmp_path / "out", "http://127.0.0.1:1")
    assert run("--local", "--cut", "output", "--runtime", "paddle") == 0
    assert run.files() == ["0.png.npz", "1.png.npz", "2.png.npz", "detections.json"]
    (shape,) = run.report()["images"][0]["outputs"].values()
    with np.load(run.output / "0.png.npz") as arrays:
        assert [list(arrays[name].shape) for name in arrays.files] == [shape]


def test_as_a_module_with_only_the_edges_packages(
    tiny_bundle: Path, photos: Path, tmp_path: Path, tiny_server: Server
) -> None:
    """Paddle, Flask and the rest of the workshop stay unloaded, and the peak memory is the child's own."""
    script = (
        "import sys\nfrom ppsplit.edge.__main__ import main\ncode = main(sys.argv[1:])\n"
        "banned = {'paddle', 'flask', 'waitress', 'yaml', 'rich', 'requests', 'jsonargparse', 'pycocotools'}\n"
        "found = banned & {name.partition('.')[0] for name in sys.modules}\n"
        "found |= {name for name in sys.modules if name.startswith(('ppsplit.cloud', 'ppsplit.export'))}\n"
        "sys.exit(str(found) if found else code)"
    )
    arguments = ["--bundle", str(tiny_bundle), "--input", str(photos), "--output", str(tmp_path)]
    arguments += ["--server", tiny_server.url]
    big = np.ones(600_000_000, np.uint8)  # of ours, which ru_maxrss would blame on the child
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, cwd=os.getcwd())
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((tmp_path / "detections.json").read_text())["summary"]["peak_rss_bytes"] < big.nbytes / 2
