"""The client against the real server: split, local and JPEG agree; bytes and times are what passed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest

from ppsplit.bundle import TAIL, Bundle
from ppsplit.edge.answer import EdgeResult
from ppsplit.edge.client import EdgeClient, JpegClient, LocalClient
from ppsplit.edge.head import Head
from ppsplit.edge.link import Link
from ppsplit.edge.timing import STAGES
from ppsplit.errors import BundleError, CodecError, InferenceRuntimeError, LinkError, ServerRejectedError
from ppsplit.runtime import native_target
from ppsplit.runtime.choice import load_part
from ppsplit.wire import Options, TensorMessage, WireTensor, pack
from tests.edge.scripted_server import answer, scripted
from tests.tiny_bundle import INPUT_HW, Server, serving

STRANGE = WireTensor("o", (1,), "O", b"")


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle)


@pytest.fixture(scope="module")
def images() -> List[np.ndarray]:
    """Three sizes, so that mixed-up placements show."""
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (h, w, 3), np.uint8) for h, w in ((64, 96), (200, 50), (33, 300))]


@pytest.fixture(scope="module")
def local(bundle: Bundle, images: List[np.ndarray]) -> List[EdgeResult]:
    cut = bundle.cut("output")
    client = LocalClient(Head(bundle, cut, "paddle"), load_part(bundle, cut, TAIL, "paddle"))
    return client.infer_batch(images)


def assert_same(found: EdgeResult, expected: EdgeResult, atol_px: float = 0.2) -> None:
    assert found.detections is not None and expected.detections is not None
    assert len(expected.detections) > 0
    assert found.image_hw == expected.image_hw
    np.testing.assert_array_equal(found.detections.class_ids, expected.detections.class_ids)
    np.testing.assert_allclose(found.detections.boxes_xyxy, expected.detections.boxes_xyxy, atol=atol_px)


@pytest.mark.parametrize("runtime", ["lite", "paddle"])
@pytest.mark.parametrize("cut", ["deep", "stem", "output"])
def test_split_and_local_agree(bundle, images, local, tiny_server: Server, runtime: str, cut: str) -> None:
    client = EdgeClient(Head(bundle, bundle.cut(cut), runtime), Link(tiny_server.url), "fp32")
    for found, expected in zip(client.infer_batch(images), local):
        assert_same(found, expected)
    for image, expected in zip(images, local):
        assert_same(client.infer(image), expected)


def test_boxes_are_in_the_pictures_own_pixels(local: List[EdgeResult]) -> None:
    for result in local:
        assert result.detections is not None
        height, width = result.image_hw
        assert (result.detections.boxes_xyxy >= 0).all()
        assert (result.detections.boxes_xyxy <= [width, height, width, height]).all()
    boxes = local[2].detections.boxes_xyxy if local[2].detections else None
    assert boxes is not None and boxes.max() > max(INPUT_HW)


def test_jpeg_at_full_quality_is_near(bundle: Bundle, images, local, tiny_server: Server) -> None:
    smooth = [np.full((64, 96, 3), 90, np.uint8)]
    cut = bundle.cut("output")
    expected = LocalClient(Head(bundle, cut, "paddle"), load_part(bundle, cut, TAIL, "paddle"), Options(0.01))
    found = JpegClient(bundle, Link(tiny_server.url), 100, Options(0.01)).infer_batch(smooth)
    assert_same(found[0], expected.infer(smooth[0]), atol_px=1.0)
    assert found[0].times_ms["head"] == 0


def test_bytes_are_those_that_were_sent_and_stages_add_up(bundle: Bundle, images) -> None:
    posted: List[bytes] = []

    class CountingLink(Link):
        def post(self, path: str, body: bytes, *rest: Any) -> Any:
            posted.append(body)
            return dataclasses.replace(super().post(path, body, *rest), round_trip_ms=10.0)

    payload = {"bundle": bundle.manifest.fingerprint, "detections": [[]], "cut": "deep"}
    body = json.dumps({**payload, "times_ms": {"decode_features": 1.5, "tail": 4.0, "decode": 0.5}}).encode()
    with scripted([answer(200, body)]) as (url, _):
        result = EdgeClient(Head(bundle, bundle.cut(), "paddle"), CountingLink(url)).infer(images[0])
    assert result.payload_bytes == len(posted[0])
    assert result.received_bytes == len(body)
    assert list(result.times_ms) == list(STAGES)
    assert (result.times_ms["tail"], result.times_ms["decode_features"], result.times_ms["decode"]) == (4.0, 1.5, 0.5)
    assert result.times_ms["network"] == 4.0  # the round trip without what the server did in it


def test_each_encoding_sends_less_than_the_one_before(bundle: Bundle, images, tiny_server: Server) -> None:
    head, link = Head(bundle, bundle.cut(), "lite"), Link(tiny_server.url)
    sizes = [
        EdgeClient(head, link, encoding).infer(images[0]).payload_bytes
        for encoding in ("fp32", "fp16", "uint8", "uint4")
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 4


def test_options_are_obeyed(bundle: Bundle, images, tiny_server: Server) -> None:
    client = EdgeClient(Head(bundle, bundle.cut()), Link(tiny_server.url), options=Options(0.01, max_detections=2))
    assert [len(r.detections) for r in client.infer_batch(images) if r.detections is not None] == [2, 2, 2]


def test_family_raw_gives_outputs(raw_bundle: Path, images) -> None:
    raw = Bundle.open(raw_bundle)
    cut = raw.cut("output")
    expected = LocalClient(Head(raw, cut, "paddle"), load_part(raw, cut, TAIL, "paddle")).infer_batch(images)
    with serving(raw_bundle) as server:
        link = Link(server.url)
        found = EdgeClient(Head(raw, raw.cut(), "paddle"), link, "fp32").infer_batch(images)
        assert JpegClient(raw, link, 90).infer(images[0]).outputs is not None
    for result, wanted in zip(found, expected):
        assert result.detections is None
        assert result.outputs is not None and wanted.outputs is not None
        assert result.times_ms["tail"] > 0
        for name, tensor in wanted.outputs.items():
            assert result.outputs[name].shape[0] == 1
            np.testing.assert_allclose(result.outputs[name], tensor, atol=1e-4)


def test_another_bundle_is_refused_by_the_server(raw_bundle: Path, images, tiny_server: Server) -> None:
    raw = Bundle.open(raw_bundle)
    with pytest.raises(ServerRejectedError, match="same bundle") as caught:
        EdgeClient(Head(raw, raw.cut(), "paddle"), Link(tiny_server.url)).infer(images[0])
    assert (caught.value.status, caught.value.code) == (409, "wrong_bundle")


def _answers(fingerprint: str) -> Dict[str, bytes]:
    sound = {"bundle": fingerprint, "cut": "deep", "detections": [[]], "times_ms": {}}
    record = {"class_id": 1, "score": 0.5, "box_xyxy": [1, 2, 3, 4]}

    def changed(**changes: Any) -> bytes:
        return json.dumps({**sound, **changes}).encode()

    return {
        "empty": b"",
        "deep": b"[" * 200_000,
        "not JSON": b"<html></html>",
        "not UTF-8": b'{"a": "\xff"}',
        "a list": b"[]",
        "nothing in it": b"{}",
        "other bundle": changed(bundle="f" * 64),
        "two images": changed(detections=[[], []]),
        "no images": changed(detections=[]),
        "records a number": changed(detections=[5]),
        "box of three": changed(detections=[[{**record, "box_xyxy": [1, 2, 3]}]]),
        "box of text": changed(detections=[[{**record, "box_xyxy": "abcd"}]]),
        "huge class": changed(detections=[[{**record, "class_id": 10**30}]]),
        "no score": changed(detections=[[{"class_id": 1, "box_xyxy": [1, 2, 3, 4]}]]),
        "times a list": changed(times_ms=[1]),
        "time negative": changed(times_ms={"tail": -1}),
        "time NaN": changed(times_ms={"tail": float("nan")}),
        "score NaN": changed(detections=[[{**record, "score": float("nan")}]]),
        "box infinite": changed(detections=[[{**record, "box_xyxy": [1, 2, 3, float("inf")]}]]),
        "time a text": changed(times_ms={"tail": "fast"}),
    }


def test_an_answer_that_makes_no_sense_is_a_link_error(bundle: Bundle, images) -> None:
    head = Head(bundle, bundle.cut(), "paddle")
    for name, body in _answers(bundle.manifest.fingerprint).items():
        with scripted([answer(200, body)]) as (url, _):
            with pytest.raises(LinkError, match="answer"):
                pytest.fail(f"{name}: {EdgeClient(head, Link(url, retries=0)).infer(images[0])}")


@pytest.mark.parametrize(
    "body",
    [b"", b"PPSF", pack(TensorMessage("b", "fp32", ())), pack(TensorMessage("b", "gif", (STRANGE,)))],
)
def test_a_frame_that_makes_no_sense_is_a_link_error(bundle: Bundle, images, body: bytes) -> None:
    with scripted([answer(200, body, content_type="application/x-ppsplit-tensors")]) as (url, _):
        with pytest.raises(LinkError, match="answer"):
            EdgeClient(Head(bundle, bundle.cut(), "paddle"), Link(url, retries=0)).infer(images[0])


def test_what_the_bundle_does_not_hold_is_said(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="no head for lite/arm/fp32 .*lite/x86/fp32"):
        Head(bundle, bundle.cut(), "lite", target="arm")
    with pytest.raises(BundleError, match="int8"):
        Head(bundle, bundle.cut(), "paddle", precision="int8")
    with pytest.raises(BundleError, match="no tail for lite"):
        load_part(bundle, bundle.cut(), TAIL, "lite", target="x86")
    with pytest.raises(CodecError, match="unknown encoding"):
        EdgeClient(Head(bundle, bundle.cut(), "paddle"), None, "uint3")


def test_the_head_checks_its_input(bundle: Bundle) -> None:
    head = Head(bundle, bundle.cut(), "paddle")
    with pytest.raises(InferenceRuntimeError):
        head.run([np.zeros((1, 5, *INPUT_HW), np.float32)])


@pytest.mark.parametrize(
    ("machine", "target"),
    [("x86_64", "x86"), ("AMD64", "x86"), ("aarch64", "arm"), ("armv7l", "arm"), ("arm64", "arm"), ("mips", "mips")],
)
def test_the_target_is_this_machines(monkeypatch: pytest.MonkeyPatch, machine: str, target: str) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert native_target() == target
