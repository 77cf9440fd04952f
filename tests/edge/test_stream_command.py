"""The client's command line for streams: what goes in, and every way out."""

from __future__ import annotations

import json
import logging
import resource
from pathlib import Path
from typing import Any, Dict, Iterator, List

import cv2
import numpy as np
import pytest

from ppsplit.edge.__main__ import main
from ppsplit.edge.frames import Camera, PictureFiles, VideoFile, open_source
from ppsplit.errors import DataError
from tests.edge.scripted_server import answer, header, read_request, scripted
from tests.tiny_bundle import CLASS_NAMES, Server, serving, write_photos

NOBODY = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def quiet_again() -> Iterator[None]:
    """The command sets a level for the whole process; other tests want it as it was."""
    yield
    logging.getLogger("ppsplit.edge").setLevel(logging.NOTSET)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "street.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.0, (96, 64))
    for index in range(7):
        writer.write(np.random.default_rng(index).integers(0, 256, (64, 96, 3), np.uint8))
    writer.release()
    return path


class Run:
    """Runs the client on a stream."""

    def __init__(self, bundle: Path, output: Path) -> None:
        self.output, self._bundle = output, bundle

    def __call__(self, source: Any, *arguments: str, server: str = NOBODY) -> int:
        basis = ["--bundle", str(self._bundle), "--input", str(source), "--output", str(self.output)]
        return main([*basis, "--server", server, "--runtime", "paddle", *arguments])

    def summary(self) -> Dict[str, Any]:
        return json.loads((self.output / "detections.json").read_text())["summary"]


@pytest.fixture
def client(tiny_bundle: Path, tmp_path: Path) -> Run:
    return Run(tiny_bundle, tmp_path / "out")


def lines_of(path: Path) -> List[Dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_video_becomes_a_drawn_video_and_lines(
    client: Run, video: Path, tmp_path: Path, tiny_server: Server, capsys: Any
) -> None:
    lines = tmp_path / "deep" / "lines.jsonl"
    assert client(video, "--jsonl", str(lines), server=tiny_server.url) == 0
    told = lines_of(lines)
    assert [line["index"] for line in told] == list(range(7))
    assert {(line["origin"], line["degraded_reason"]) for line in told} == {("cloud", None)}
    assert all(line["detections"] and line["latency_ms"] > 0 and line["point"] == "deep/uint8" for line in told)
    capture = cv2.VideoCapture(str(client.output / "drawn.mp4"))
    assert (capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)) == (7, 12)
    assert sorted(path.name for path in client.output.iterdir()) == ["detections.json", "drawn.mp4"]
    summary = client.summary()
    assert (summary["frames"], summary["origins"], summary["dropped"]) == (7, {"cloud": 7}, 0)
    assert set(summary["latency_ms"]) == {"p50", "p95", "p99"}
    printed = capsys.readouterr().out
    assert "cloud 7" in printed and "deep/uint8 7" in printed


def test_without_a_cloud_every_picture_still_has_an_answer(client: Run, photos: Path, capsys: Any) -> None:
    (photos / "3.png").write_bytes(b"nothing")
    assert client(photos, "--deadline-ms", "500") == 0
    assert sorted(path.name for path in client.output.iterdir()) == ["0.png", "1.png", "2.png", "detections.json"]
    summary = client.summary()
    assert (summary["origins"], summary["degraded_reasons"]) == ({"edge": 3}, {"unreachable": 3})
    assert len(summary["skipped"]) == 1
    assert "1 that cannot be read" in capsys.readouterr().out
    assert client(photos, "--deadline-ms", "500", "--no-tail", "--no-draw") == 0
    assert client.summary()["origins"] == {"stale": 3}


def test_lines_on_standard_output_are_alone_there(client: Run, photos: Path, capsys: Any) -> None:
    assert client(photos, "--jsonl", "-", "--no-draw") == 0
    captured = capsys.readouterr()
    assert [json.loads(line)["name"] for line in captured.out.splitlines()] == ["0.png", "1.png", "2.png"]
    assert "answers from" in captured.err


def test_coco_results_have_the_annotations_ids(client: Run, photos: Path, tmp_path: Path, capsys: Any) -> None:
    results, annotations = tmp_path / "results.json", tmp_path / "instances.json"
    images = [{"id": 100 + index, "file_name": f"val/{index}.png"} for index in range(3)]
    categories = [{"id": 70 + index, "name": name} for index, name in enumerate(CLASS_NAMES)]
    annotations.write_text(json.dumps({"images": images, "categories": categories}))
    common = ("--coco-results", str(results), "--score-threshold", "0.05", "--no-draw")
    assert client(photos, *common, "--coco-annotations", str(annotations)) == 0
    records = json.loads(results.read_text())
    assert {record["image_id"] for record in records} == {100, 101, 102}
    assert {record["category_id"] for record in records} <= {70, 71}
    assert all(len(record["bbox"]) == 4 and min(record["bbox"]) >= 0 and record["score"] > 0 for record in records)
    assert client(photos, *common) == 0
    plain = json.loads(results.read_text())
    assert [record["bbox"] for record in plain] == [record["bbox"] for record in records]
    assert {(record["image_id"], record["category_id"]) for record in plain} == {
        (record["image_id"] - 100, record["category_id"] - 69) for record in records
    }
    annotations.write_text(json.dumps({"images": images[:1], "categories": categories}))
    assert client(photos, *common, "--coco-annotations", str(annotations)) == 1
    assert "1.png is not in the COCO annotations" in capsys.readouterr().err
    annotations.write_text(json.dumps({"images": images, "categories": categories[:1]}))
    assert client(photos, *common, "--coco-annotations", str(annotations)) == 1
    assert "no category 'cat'" in capsys.readouterr().err


def test_a_second_server_and_the_token_are_used(
    client: Run, photos: Path, tmp_path: Path, tiny_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: List[str] = []
    values = json.dumps({"error": {"code": "queue_full", "message": "later"}}).encode()

    def look(connection: Any) -> None:
        connection.settimeout(5)
        data = connection.recv(65536, 2)  # MSG_PEEK
        shown.append(header(data.partition(b"\r\n\r\n")[0], "Authorization"))
        answer(503, values, "Retry-After: 60")(connection)

    token = tmp_path / "token"
    token.write_text("from-file\n")
    with scripted([look]) as (url, _):
        assert client(photos, "--server", tiny_server.url, "--token-file", str(token), "--jsonl", "-", server=url) == 0
    assert client.summary()["origins"] == {"cloud": 3}
    monkeypatch.setenv("PPSPLIT_TOKEN", "from-environment")
    with scripted([look]) as (url, _):
        assert client(photos, "--server", tiny_server.url, "--jsonl", "-", server=url) == 0
    assert shown == ["Bearer from-file", "Bearer from-environment"]


def test_a_target_latency_moves_among_the_points_and_says_why(
    client: Run, photos: Path, tiny_bundle: Path, capsys: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that is slow by the byte: what is sent gets smaller, and the log has the reason."""
    import time

    from ppsplit.bundle import Bundle

    write_photos(photos, 12)
    values = {"bundle": Bundle.open(tiny_bundle).manifest.fingerprint, "cut": "", "detections": [[]], "times_ms": {}}

    def slow(connection: Any) -> None:
        data = connection.recv(65536, 2)
        if data.startswith(b"POST"):
            length = int(header(data.partition(b"\r\n\r\n")[0], "Content-Length"))
            time.sleep(length / 20_000)
            answer(200, json.dumps(values).encode())(connection)
        else:
            read_request(connection)
            connection.close()

    with scripted([slow] * 40) as (url, _), caplog.at_level(logging.INFO, logger="ppsplit.edge"):
        assert client(photos, "--target-latency-ms", "60", "--deadline-ms", "2000", "--depth", "1", server=url) == 0
    points = client.summary()["points"]
    assert len(points) > 1
    assert any("operating point" in line and "target 60 ms" in line for line in caplog.messages)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--deadline-ms", "0"], "deadline"),
        (["--deadline-ms", "500", "--depth", "0"], "depth"),
        (["--deadline-ms", "500", "--rounds", "2"], "--rounds"),
        (["--deadline-ms", "500", "--local"], "--local"),
        (["--deadline-ms", "500", "--jpeg", "75"], "--jpeg"),
        (["--target-latency-ms", "50", "--encoding", "uint4"], "leave --encoding"),
        (["--target-latency-ms", "-1"], "target latency"),
        (["--jsonl", "-", "--token-file", "/nowhere"], "--token-file"),
    ],
)
def test_every_mistake_is_one_line(client: Run, photos: Path, arguments: List[str], words: str, capsys: Any) -> None:
    assert client(photos, *arguments) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and words in error


def test_a_token_is_wanted_and_shown_or_the_tail_does_it(tiny_bundle: Path, photos: Path, tmp_path: Path) -> None:
    """Against the real server: without its token nothing is lost, only degraded."""
    tokens = tmp_path / "tokens"
    tokens.write_text("s3cret-token-of-some-length\n")
    run = Run(tiny_bundle, tmp_path / "out")
    with serving(tiny_bundle, extra=("--tokens", str(tokens))) as server:
        assert run(photos, "--jsonl", str(tmp_path / "a"), server=server.url) == 0
        assert run.summary()["degraded_reasons"] == {"unauthorized": 3}
        assert run(photos, "--jsonl", str(tmp_path / "b"), "--token-file", str(tokens), server=server.url) == 0
        assert run.summary()["origins"] == {"cloud": 3}


def test_addresses_mean_what_they_look_like(photos: Path, video: Path, tmp_path: Path) -> None:
    def opened(address: Any) -> Any:
        return open_source(str(address), lambda error: None)

    assert isinstance(opened(photos), PictureFiles) and opened(photos).count == 3
    assert isinstance(opened(photos / "0.png"), PictureFiles)
    source = opened(video)
    assert isinstance(source, VideoFile) and (source.count, source.frames_per_s) == (7, 12)
    assert [frame.image_rgb.shape for frame in source.frames()] == [(64, 96, 3)] * 7
    for address, expected in (("0", 0), ("/dev/video7", "/dev/video7"), ("rtsp://h/x", "rtsp://h/x")):
        camera = opened(address)
        assert isinstance(camera, Camera) and camera.live and camera.address == expected
    (tmp_path / "notes.txt").write_text("not a video")
    with pytest.raises(DataError, match="neither a picture nor a video"):
        opened(tmp_path / "notes.txt")


def test_a_disk_that_is_full_is_an_error_and_leaves_no_broken_video(client: Run, video: Path, capsys: Any) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        assert client(video) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "could not be written to its end" in capsys.readouterr().err
    assert [path.name for path in client.output.iterdir()] == ["detections.json"]
    assert client.summary()["frames"] == 7


def test_an_output_that_fails_keeps_the_others_and_the_report(client: Run, video: Path, capsys: Any) -> None:
    assert client(video, "--jsonl", "/dev/full") == 1
    assert "No space left" in capsys.readouterr().err
    assert sorted(path.name for path in client.output.iterdir()) == ["detections.json", "drawn.mp4"]
    assert client.summary()["frames"] == 1


def test_a_camera_that_is_not_there_is_an_error_after_some_tries() -> None:
    with pytest.raises(DataError, match="gives no picture after 0"):
        list(Camera("/dev/video-nowhere", tries=2, pause_s=0.01).frames())


def test_a_camera_that_fails_for_a_moment_is_opened_anew(video: Path) -> None:
    """A file stands for the camera: at its end OpenCV says what it says when a stream breaks off."""
    frames = Camera(str(video), tries=1).frames()
    names = [next(frames).name for _ in range(7)]
    assert names == [str(index) for index in range(7)]
    frames = Camera(str(video), tries=2, pause_s=0.01).frames()
    assert [next(frames).name for _ in range(15)][-1] == "14"
