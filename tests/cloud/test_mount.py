"""The app within an event loop: the same answers as behind waitress, and nothing read that need not be."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any, AsyncIterator, Iterator, List, Tuple

import pytest

from ppsplit.cloud.app import create_app
from ppsplit.cloud.mount import Answer, Head, Mount
from ppsplit.cloud.service import Service, make_service
from ppsplit.wire import FEATURES_TYPE
from ppsplit.wire.http import DIGEST_HEADER, REQUEST_ID_HEADER, content_digest, digest_matches
from tests.cloud.requests import frame

FEATURES = ("Content-Type", FEATURES_TYPE)


@pytest.fixture
def service(tiny_bundle: Path) -> Iterator[Service]:
    made = make_service([tiny_bundle])
    yield made
    made.shelf.close()


def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    async def give() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    return give()


def ask(mount: Mount, head: Head, body: AsyncIterator[bytes]) -> Answer:
    return asyncio.run(mount.answer(head, body))


def post(body: bytes, *headers: Tuple[str, str]) -> Head:
    return Head("POST", "/v1/infer", "", [FEATURES, ("content-length", str(len(body))), *headers], "192.0.2.1")


def header(answer: Answer, name: str) -> str:
    return dict(answer.headers)[name]


def code(answer: Answer) -> Tuple[int, str]:
    return answer.status, json.loads(answer.body)["error"]["code"]


def test_an_answer_is_the_apps_own(service: Service, tiny_bundle: Path) -> None:
    service.shelf.warm_up()
    app, body = create_app(service), frame(tiny_bundle)
    mount = Mount(app, service)
    expected = app.test_client().post("/v1/infer", data=body, content_type=FEATURES_TYPE).get_json()
    headers = ((REQUEST_ID_HEADER.lower(), "frame-7"), (DIGEST_HEADER, content_digest(body)))
    answer = ask(mount, post(body, *headers), chunks(body[:100], b"", body[100:]))
    assert answer.status == 200
    assert json.loads(answer.body)["detections"] == expected["detections"]
    assert header(answer, REQUEST_ID_HEADER) == "frame-7"
    assert digest_matches(answer.body, header(answer, DIGEST_HEADER))
    mount.close()


def test_other_requests_are_told_apart_as_by_the_app(service: Service) -> None:
    mount = Mount(create_app(service), service)
    fingerprint = service.shelf.manifest().fingerprint
    assert ask(mount, Head("GET", f"/v1/bundle/{fingerprint}", "", []), chunks()).status == 200
    assert code(ask(mount, Head("GET", "/nowhere", "", []), chunks())) == (404, "not_found")
    assert code(ask(mount, Head("GET", "/v1/infer", "", []), chunks())) == (405, "method_not_allowed")
    assert (
        code(ask(mount, Head("POST", "/v1/infer-image", "x=1", [("Content-Type", "image/jpeg")]), chunks()))[0] == 422
    )
    head = ask(mount, Head("HEAD", "/healthz", "", []), chunks())
    assert (head.status, head.body, int(header(head, "Content-Length")) > 0) == (200, b"", True)


def test_damage_on_the_way_is_seen(service: Service, tiny_bundle: Path) -> None:
    mount, body = Mount(create_app(service), service), frame(tiny_bundle)
    damaged = bytes([body[0] ^ 1]) + body[1:]
    answer = ask(mount, post(body, (DIGEST_HEADER, content_digest(body))), chunks(damaged))
    assert code(answer) == (400, "bad_digest")


def test_what_is_too_long_is_not_read(service: Service) -> None:
    mount, limit = Mount(create_app(service), service), service.shelf.max_body_bytes
    read: List[int] = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            read.append(limit // 4)
            yield bytes(limit // 4)

    declared = Head("POST", "/v1/infer", "", [FEATURES, ("Content-Length", str(limit + 1))])
    assert code(ask(mount, declared, endless())) == (413, "too_large")
    assert read == []
    assert code(ask(mount, Head("POST", "/v1/infer", "", [FEATURES]), endless())) == (413, "too_large")
    assert sum(read) <= limit * 1.5


def test_a_body_that_drips_is_given_up(service: Service) -> None:
    mount = Mount(create_app(service), service, request_timeout_s=0.2)

    async def dripping() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.05)

    answer = ask(mount, Head("POST", "/v1/infer", "", [FEATURES, (REQUEST_ID_HEADER, "slow")]), dripping())
    assert (answer.status, header(answer, REQUEST_ID_HEADER)) == (408, "slow")
    assert digest_matches(answer.body, header(answer, DIGEST_HEADER))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("PPSplit-Timeout-Ms", "never")], "bad_header"),
        ([("PPSplit_Timeout_Ms", "never")], "bad_frame"),  # could pass for the other, so it is not taken at all
        ([("Content-Length", "many")], "bad_frame"),
        ([(REQUEST_ID_HEADER, "one"), (REQUEST_ID_HEADER, "two")], "bad_header"),
    ],
)
def test_headers(service: Service, headers: Any, expected: str) -> None:
    mount = Mount(create_app(service), service)
    answer = ask(mount, Head("POST", "/v1/infer", "", [FEATURES, *headers]), chunks(b"no frame"))
    assert code(answer) == (400, expected)


def test_requests_beyond_the_room_are_refused_while_others_wait(service: Service, tiny_bundle: Path) -> None:
    mount, body = Mount(create_app(service), service), frame(tiny_bundle)

    async def many() -> List[Answer]:
        with contextlib.ExitStack() as taken:
            for _ in range(service.room.max_requests):
                taken.enter_context(service.room.place())
            return await asyncio.gather(*(mount.answer(post(body), chunks(body)) for _ in range(20)))

    answers = asyncio.run(many())
    assert {code(answer) for answer in answers} == {(503, "queue_full")}
    assert {header(answer, "Retry-After") for answer in answers} == {"1"}
