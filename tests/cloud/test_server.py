"""The cloud half over a real socket: right answers, and hostile requests after each of which it still lives."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Dict, Tuple

import pytest
import urllib3

from ppsplit.bundle import Bundle
from ppsplit.cloud.engine import Engine
from ppsplit.codec import MAX_BATCH, EncodedTensor, FeatureCodec
from ppsplit.codec.compress import compress
from ppsplit.detections import Detections
from ppsplit.wire import FEATURES_TYPE, TENSORS_TYPE, Options, TensorMessage, pack, unpack
from ppsplit.wire.frame import pack_frame, unpack_frame
from ppsplit.wire.http import content_digest
from tests.cloud.requests import features_message, frame, picture
from tests.tiny_bundle import Server, get, serving

JPEG_TYPE = "image/jpeg"


def post(url: str, body: Any, content_type: str = FEATURES_TYPE, **headers: str) -> Any:
    return urllib3.request(
        "POST", url, body=body, headers={"Content-Type": content_type, **headers}, retries=False, timeout=20
    )


def raw_exchange(url: str, data: bytes) -> bytes:
    """Send bytes as they are and return what comes back until the server closes or is silent."""
    host, port = url[len("http://") :].split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(data)
        received = b""
        while True:
            chunk = connection.recv(65536)
            received += chunk
            if not chunk or b"}}" in received:
                return received


def test_features_are_answered(tiny_server: Server, tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    for encoding in ("fp32", "fp16", "uint8", "uint4"):
        message = features_message(tiny_bundle, encoding, batch=2, options=Options(score_threshold=0.01))
        response = post(tiny_server.url + "/v1/infer", pack(message))
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/json"
        answer = response.json()
        assert (answer["bundle"], answer["cut"]) == (bundle.manifest.fingerprint, "deep")
        assert set(answer["times_ms"]) == {"decode_features", "queue", "tail", "decode"}
        first, second = (Detections.from_records(records) for records in answer["detections"])
        assert len(first) == len(second) > 0


def test_pictures_are_answered(tiny_server: Server) -> None:
    url = tiny_server.url + "/v1/infer-image"
    query, body = "score_threshold=0.01&max_detections=3", picture()
    response = post(f"{url}?{query}", body, JPEG_TYPE)
    assert response.headers["PPSplit-Request-Digest"] == content_digest(query.encode() + b"\n" + body)
    answer = response.json()
    assert answer["cut"] is None
    assert [len(records) for records in answer["detections"]] == [3]


def test_what_it_serves_can_be_asked(tiny_server: Server, tiny_bundle: Path) -> None:
    assert get(tiny_server.url + "/v1/bundle").json() == json.loads((tiny_bundle / "manifest.json").read_text())
    assert get(tiny_server.url + "/healthz").json() == {"alive": True}
    assert get(tiny_server.url + "/readyz").json() == {"ready": True}


def test_family_raw_is_answered_with_a_frame(raw_bundle: Path) -> None:
    manifest = Bundle.open(raw_bundle).manifest
    with serving(raw_bundle) as server:
        response = post(server.url + "/v1/infer", pack(features_message(raw_bundle, batch=2)))
        picture_answer = unpack(post(server.url + "/v1/infer-image", picture(), JPEG_TYPE).data)
    assert response.headers["Content-Type"] == TENSORS_TYPE
    message = unpack(response.data)
    assert isinstance(message, TensorMessage)
    assert isinstance(picture_answer, TensorMessage)
    tensors = FeatureCodec(manifest.outputs, message.encoding, {}).decode([EncodedTensor(*t) for t in message.tensors])
    assert [t.shape[0] for t in tensors.values()] == [2]
    assert "tail" in message.times_ms


def hostile(bundle: Path) -> Dict[str, Tuple[str, Any, str, int, str]]:
    """name: path, body, content type, status, code."""
    good = frame(bundle)
    flipped = bytearray(good)
    flipped[-1] ^= 1

    def wished(score_threshold: Any) -> bytes:
        body = unpack_frame(good)
        return pack_frame({**body, "options": {"score_threshold": score_threshold}})

    limit = Engine(Bundle.open(bundle)).max_body_bytes
    zeros = compress(bytes(1 << 26), 19)
    raw = pack(TensorMessage("b", "fp32", ()))
    infer, image = "/v1/infer", "/v1/infer-image"
    many = pack(features_message(bundle, batch=MAX_BATCH + 1))
    endless = (bytes(4096) for _ in range(limit // 4096 + 2))
    jpeg_bomb = picture()[:2] + b"\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03" + bytes(50)
    return {
        "empty": (infer, b"", FEATURES_TYPE, 400, "bad_frame"),
        "noise": (infer, bytes(range(256)) * 40, FEATURES_TYPE, 400, "bad_frame"),
        "cut off": (infer, good[:-10], FEATURES_TYPE, 400, "bad_frame"),
        "flipped": (infer, bytes(flipped), FEATURES_TYPE, 400, "bad_frame"),
        "a byte more": (infer, good + b"\0", FEATURES_TYPE, 400, "bad_frame"),
        "another version": (infer, good[:4] + b"\x07" + good[5:], FEATURES_TYPE, 400, "bad_frame"),
        "an answer": (infer, raw, FEATURES_TYPE, 400, "bad_frame"),
        "no type": (infer, good, "", 415, "wrong_content_type"),
        "JSON": (infer, b"{}", "application/json", 415, "wrong_content_type"),
        "a form": (infer, good, "multipart/form-data; boundary=x", 415, "wrong_content_type"),
        "another bundle": (infer, frame(bundle, bundle="f" * 64), FEATURES_TYPE, 409, "wrong_bundle"),
        "another cut": (infer, frame(bundle, cut="nowhere"), FEATURES_TYPE, 404, "unknown_cut"),
        "a path as cut": (infer, frame(bundle, cut="../../etc/passwd"), FEATURES_TYPE, 404, "unknown_cut"),
        "another encoding": (infer, frame(bundle, encoding="gif"), FEATURES_TYPE, 422, "bad_features"),
        "encoding and data differ": (infer, frame(bundle, encoding="uint4"), FEATURES_TYPE, 422, "bad_features"),
        "another shape": (infer, frame(bundle, tensor_shape=(1, 1)), FEATURES_TYPE, 422, "bad_features"),
        "a huge batch": (infer, frame(bundle, tensor_shape=(2**31 - 1, 16, 8, 12)), FEATURES_TYPE, 422, "bad_features"),
        "another dtype": (infer, frame(bundle, tensor_dtype="object"), FEATURES_TYPE, 422, "bad_features"),
        "a bomb": (infer, frame(bundle, tensor_data=zeros), FEATURES_TYPE, 422, "bad_features"),
        "no tensors": (infer, frame(bundle, tensors=()), FEATURES_TYPE, 422, "bad_features"),
        "NaN": (infer, pack(features_message(bundle, value=float("nan"))), FEATURES_TYPE, 422, "bad_features"),
        "batch too large": (infer, many, FEATURES_TYPE, 422, "bad_features"),
        "an overflow": (infer, pack(features_message(bundle, value=3e38)), FEATURES_TYPE, 422, "bad_features"),
        "option in a frame": (infer, wished(2), FEATURES_TYPE, 422, "bad_features"),
        "nil in a frame": (infer, wished(None), FEATURES_TYPE, 422, "bad_features"),
        "too large": (infer, bytes(limit + 1), FEATURES_TYPE, 413, "too_large"),
        "too large in chunks": (infer, endless, FEATURES_TYPE, 413, "too_large"),
        "a PNG": (image, b"\x89PNG\r\n\x1a\n" + bytes(99), JPEG_TYPE, 422, "bad_image"),
        "another size": (image, picture(64, 64), JPEG_TYPE, 422, "bad_image"),
        "a JPEG bomb": (image, jpeg_bomb, JPEG_TYPE, 422, "bad_image"),
        "a cut-off JPEG": (image, picture()[:100], JPEG_TYPE, 422, "bad_image"),
        "bad option": (image + "?score_threshold=2", picture(), JPEG_TYPE, 422, "bad_features"),
        "option no JSON": (image + "?score_threshold=x", picture(), JPEG_TYPE, 422, "bad_features"),
        "option NaN": (image + "?score_threshold=NaN", picture(), JPEG_TYPE, 422, "bad_features"),
        "option of 5000 digits": (image + "?max_detections=" + "9" * 5000, picture(), JPEG_TYPE, 422, "bad_features"),
        "option deep": (image + "?score_threshold=" + "[" * 9000, picture(), JPEG_TYPE, 422, "bad_features"),
        "unknown option": (image + "?exec=1", picture(), JPEG_TYPE, 422, "bad_features"),
        "no such path": ("/v2/infer", good, FEATURES_TYPE, 404, "not_found"),
        "a file": ("/../manifest.json", good, FEATURES_TYPE, 404, "not_found"),
        "POST to GET": ("/v1/bundle", good, FEATURES_TYPE, 405, "method_not_allowed"),
    }  # fmt: skip


def test_hostile_requests_get_a_4xx_that_says_why_and_the_server_lives(tiny_server: Server, tiny_bundle: Path) -> None:
    for name, (path, body, content_type, status, code) in hostile(tiny_bundle).items():
        try:
            response = post(tiny_server.url + path, body, content_type)
        except urllib3.exceptions.ProtocolError:
            assert status == 413, name  # refused while we were still sending: the socket may be gone before we read
        else:
            error = response.json()["error"]
            assert (response.status, error["code"]) == (status, code), (name, error)
            assert len(error["message"]) > 10, name
        assert tiny_server.is_alive(), name
    assert post(tiny_server.url + "/v1/infer", frame(tiny_bundle)).status == 200


HTTP = b"POST /v1/infer HTTP/1.1\r\nHost: x\r\nContent-Type: " + FEATURES_TYPE.encode() + b"\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (HTTP + b"Content-Length: 99999999999\r\n\r\n", 413),
        (HTTP + b"Content-Length: -5\r\n\r\n", 400),
        (HTTP + b"Content-Length: five\r\n\r\n", 400),
        (HTTP + b"Content-Length: 1" + b"0" * 5000 + b"\r\n\r\n", None),  # waitress just hangs up
        (HTTP + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (HTTP + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (HTTP + b"X: " + b"a" * 300_000 + b"\r\n\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
    ],
)
def test_broken_http_is_refused_and_the_server_lives(tiny_server: Server, request_bytes: bytes, status: Any) -> None:
    try:
        answer = raw_exchange(tiny_server.url, request_bytes)
        if status is None:
            assert not answer
        else:
            assert answer.split(b" ", 2)[1] == str(status).encode()
            assert b'{"error": {"code": ' in answer
    except ConnectionError:
        pass  # refused and closed before we had sent all of it
    assert tiny_server.is_alive()


def test_a_large_content_length_is_refused_before_the_body_is_read(tiny_server: Server) -> None:
    start = time.monotonic()
    answer = raw_exchange(tiny_server.url, HTTP + b"Content-Length: 2000000000\r\n\r\n")  # and not a byte of it
    assert b" 413 " in answer
    assert b'"too_large"' in answer
    assert time.monotonic() - start < 2


def test_clients_that_leave_in_the_middle_do_no_harm(tiny_server: Server, tiny_bundle: Path) -> None:
    host, port = tiny_server.url[len("http://") :].split(":")
    good = frame(tiny_bundle)
    head = HTTP + b"Content-Length: %d\r\n\r\n" % len(good)
    for data in (HTTP[:20], head, head + good[: len(good) // 2], head + good):
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(data)
    assert tiny_server.is_alive()
    assert post(tiny_server.url + "/v1/infer", good).status == 200


def test_many_half_requests_keep_nobody_out(tiny_server: Server) -> None:
    host, port = tiny_server.url[len("http://") :].split(":")
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=5))
            connection.sendall(HTTP + b"Content-Length: 1000\r\n\r\nhalf")
        # not by `post`, which has a connection already
        assert b" 200 " in raw_exchange(tiny_server.url, b"GET /healthz HTTP/1.0\r\nHost: x\r\n\r\n")


def test_many_at_once_each_get_their_own_answer(tiny_server: Server, tiny_bundle: Path) -> None:
    answers: Dict[float, Any] = {}

    def ask(value: float) -> None:
        message = features_message(tiny_bundle, value=value, options=Options(score_threshold=0.001))
        answers[value] = post(tiny_server.url + "/v1/infer", pack(message)).json()["detections"]

    values = [index / 10 for index in range(16)]
    threads = [threading.Thread(target=ask, args=(value,)) for value in values]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = dict(answers)
    for value in values:
        ask(value)
    assert answers == together
    assert len({json.dumps(answer) for answer in answers.values()}) > 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(tiny_bundle: Path, number: int) -> None:
    with serving(tiny_bundle) as server:
        assert post(server.url + "/v1/infer", frame(tiny_bundle)).status == 200
        server.process.send_signal(number)
        assert server.process.wait(timeout=10) == 0


def _serve_fails(bundle: str, port: int) -> str:
    script = (
        "import sys\nfrom ppsplit.cli.serve import serve\nfrom ppsplit.errors import PPSplitError\n"
        "try: serve([sys.argv[1]], port=int(sys.argv[2]))\nexcept PPSplitError as error: sys.exit(str(error))"
    )
    done = subprocess.run([sys.executable, "-c", script, bundle, str(port)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_a_busy_port_is_one_clear_error(tiny_bundle: Path, tiny_server: Server) -> None:
    port = int(tiny_server.url.rsplit(":", 1)[1])
    message = _serve_fails(str(tiny_bundle), port)
    assert f"127.0.0.1:{port}" in message
    assert "--port 0" in message


def test_a_port_that_is_none_and_a_bundle_that_is_none_are_clear_errors(tiny_bundle: Path, tmp_path: Path) -> None:
    assert "cannot listen" in _serve_fails(str(tiny_bundle), 70_000)
    assert "no bundle" in _serve_fails(str(tmp_path), 0)
