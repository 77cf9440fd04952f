"""Headers, access, limits and what is seen from outside; without a socket."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ppsplit.cloud.app import create_app
from ppsplit.cloud.engine import Engine
from ppsplit.cloud.log import JsonFormatter
from ppsplit.cloud.programs import Programs
from ppsplit.cloud.service import Service, make_service
from ppsplit.errors import ConfigError
from ppsplit.wire import FEATURES_TYPE
from ppsplit.wire.http import content_digest, digest_matches
from tests.cloud.requests import frame, picture

TOKEN = "a-token-of-24-characters"


@pytest.fixture(scope="module")
def service(tiny_bundle: Path) -> Iterator[Service]:
    made = make_service([tiny_bundle])
    made.shelf.warm_up()
    yield made
    made.shelf.close()


@pytest.fixture
def client(service: Service) -> Any:
    return create_app(service).test_client()


def infer(client: Any, body: bytes, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/v1/infer", data=body, content_type=FEATURES_TYPE, headers=named)


def refusal(response: Any) -> Any:
    return response.status_code, response.get_json()["error"]["code"]


def test_every_answer_carries_the_requests_id_and_a_digest(client: Any, tiny_bundle: Path) -> None:
    good = frame(tiny_bundle)
    answers = [
        infer(client, good, PPSplit_Request_Id="frame-7"),
        infer(client, good[:-1], PPSplit_Request_Id="frame-7"),
        client.get("/healthz", headers={"PPSplit-Request-Id": "frame-7"}),
        client.get("/nowhere", headers={"PPSplit-Request-Id": "frame-7"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 400, 200, 404]
    for answer in answers:
        assert answer.headers["PPSplit-Request-Id"] == "frame-7"
        assert digest_matches(answer.data, answer.headers["Content-Digest"])
    made = {infer(client, good).headers["PPSplit-Request-Id"] for _ in range(3)}
    assert len(made) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in made)


@pytest.mark.parametrize(
    "headers",
    [{"PPSplit_Request_Id": wrong} for wrong in ("", "a b", "x" * 65, "a/b")]
    + [{"PPSplit_Timeout_Ms": wrong} for wrong in ("", "0", "-5", "1.5", "soon", "1e3", "9" * 400)],
)
def test_headers_that_are_none_are_refused(client: Any, tiny_bundle: Path, headers: Any) -> None:
    response = infer(client, frame(tiny_bundle), **headers)
    assert refusal(response) == (400, "bad_header")
    assert re.fullmatch("[0-9a-f]{32}", response.headers["PPSplit-Request-Id"])


def test_a_digest_is_verified_when_there_is_one(client: Any, tiny_bundle: Path) -> None:
    good = frame(tiny_bundle)
    assert infer(client, good, Content_Digest=content_digest(good)).status_code == 200
    for wrong in (content_digest(good + b"x"), "sha-256=:AAAA:", "md5=:AAAA:", ""):
        assert refusal(infer(client, good, Content_Digest=wrong)) == (400, "bad_digest")
    # before anything else is looked at: what is damaged may look like anything
    assert refusal(infer(client, good[:-9], Content_Digest=content_digest(good))) == (400, "bad_digest")


HEADERS = ("PPSplit-Timeout-Ms", "PPSplit-Request-Id", "Content-Digest", "Authorization", "Content-Type")
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=80)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(HEADERS), VALUES), st.binary(max_size=60), st.integers(0, 2000))
def test_whatever_is_sent_it_is_no_fault_of_the_server(
    client: Any, tiny_bundle: Path, headers: Any, noise: bytes, place: int
) -> None:
    good = frame(tiny_bundle)
    for body in (noise, good[:place] + noise + good[place + len(noise) :]):
        response = client.post("/v1/infer", data=body, headers={"Content-Type": FEATURES_TYPE, **headers})
        assert response.status_code in (200, 400, 409, 413, 415, 422, 503), response.text
        assert digest_matches(response.data, response.headers["Content-Digest"])
        if response.status_code == 503:
            assert response.get_json()["error"]["code"] in ("deadline_passed", "overloaded")


def test_work_whose_time_is_over_is_not_run(client: Any, service: Service, tiny_bundle: Path, monkeypatch) -> None:
    monkeypatch.setattr(Programs, "run", lambda *_: pytest.fail("it was run"))
    monkeypatch.setattr(Engine, "_codec", slow(Engine._codec))
    response = infer(client, frame(tiny_bundle), PPSplit_Timeout_Ms="5")
    assert refusal(response) in ((503, "deadline_passed"), (503, "overloaded"))
    assert int(response.headers["Retry-After"]) >= 1


def slow(function: Any) -> Any:
    import time

    def slower(*arguments: Any) -> Any:
        time.sleep(0.05)
        return function(*arguments)

    return slower


def test_time_that_is_left_is_enough(client: Any, tiny_bundle: Path) -> None:
    assert infer(client, frame(tiny_bundle), PPSplit_Timeout_Ms="20000").status_code == 200


def test_no_memory_is_503_and_the_server_lives(client: Any, tiny_bundle: Path, monkeypatch) -> None:
    def no_memory(*_: Any) -> Any:
        raise MemoryError

    for owner, name in ((Programs, "run"), (Engine, "_codec")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, no_memory)
            response = infer(client, frame(tiny_bundle))
        assert refusal(response) == (503, "out_of_memory")
        assert response.headers["Retry-After"] == "1"
        assert infer(client, frame(tiny_bundle)).status_code == 200


def test_a_full_room_refuses_at_the_door(client: Any, service: Service, tiny_bundle: Path, monkeypatch) -> None:
    monkeypatch.setattr(service.room, "max_requests", 0)
    response = infer(client, b"not even read")
    assert refusal(response) == (503, "queue_full")
    assert response.headers["Retry-After"] == "1"
    assert client.get("/healthz").status_code == client.get("/metrics").status_code == 200


def test_only_who_has_a_token_gets_in(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(TOKEN)
    service = make_service([tiny_bundle], tokens=tmp_path / "tokens")
    client, good = create_app(service).test_client(), frame(tiny_bundle)
    for path in ("/v1/bundle", "/v1/bundles", "/metrics", "/nowhere"):
        response = client.get(path)
        assert refusal(response) == (401, "unauthorized")
        assert response.headers["WWW-Authenticate"] == "Bearer"
        known = client.get(path, headers={"Authorization": f"Bearer {TOKEN}"})
        assert known.status_code == (404 if path == "/nowhere" else 200)
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503  # not warmed up; but no token is asked for
    assert refusal(infer(client, good)) == (401, "unauthorized")
    assert refusal(infer(client, good, Authorization="Bearer a-token-of-24-character")) == (401, "unauthorized")
    assert infer(client, good, Authorization=f"Bearer {TOKEN}").status_code == 200
    service.shelf.close()


def test_each_client_has_its_own_rate(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f"{TOKEN}-1\n{TOKEN}-2")
    service = make_service([tiny_bundle], tokens=tmp_path / "tokens", rate="2/hour")
    client, good = create_app(service).test_client(), frame(tiny_bundle)
    first, second = f"Bearer {TOKEN}-1", f"Bearer {TOKEN}-2"
    assert [infer(client, good, Authorization=first).status_code for _ in range(2)] == [200, 200]
    response = infer(client, good, Authorization=first)
    assert refusal(response) == (429, "rate_limited")
    assert int(response.headers["Retry-After"]) > 1
    assert infer(client, good, Authorization=second).status_code == 200
    service.shelf.close()


def test_bundles_can_be_asked_for(tiny_bundle: Path, raw_bundle: Path) -> None:
    service = make_service([tiny_bundle, raw_bundle])
    client = create_app(service).test_client()
    listed = client.get("/v1/bundles").get_json()
    assert [set(one) for one in listed] == [{"name", "fingerprint", "ready"}] * 2
    first, second = (one["fingerprint"] for one in listed)
    assert client.get("/v1/bundle").get_json()["fingerprint"] == first
    assert client.get(f"/v1/bundle/{second}").get_json()["fingerprint"] == second
    assert refusal(client.get("/v1/bundle/" + "0" * 64)) == (404, "not_found")
    image = {"data": picture(), "content_type": "image/jpeg"}
    assert refusal(client.post("/v1/infer-image", **image)) == (400, "bad_request")
    assert refusal(client.post("/v1/infer-image?bundle=0", **image)) == (409, "wrong_bundle")
    assert client.post(f"/v1/infer-image?bundle={first}&max_detections=2", **image).get_json()["bundle"] == first
    assert infer(client, frame(raw_bundle)).mimetype == "application/x-ppsplit-tensors"
    assert infer(client, frame(tiny_bundle)).get_json()["bundle"] == first
    service.shelf.close()


def test_what_a_draining_server_takes(tiny_bundle: Path) -> None:
    service = make_service([tiny_bundle])
    service.shelf.warm_up()
    client = create_app(service).test_client()
    assert client.get("/readyz").status_code == 200
    service.draining = True
    for response in (infer(client, frame(tiny_bundle)), client.get("/readyz")):
        assert refusal(response) == (503, "shutting_down")
        assert response.headers["Retry-After"] == "1"
    assert client.get("/healthz").status_code == 200
    service.shelf.close()


def test_prometheus_is_told(tiny_bundle: Path) -> None:
    service = make_service([tiny_bundle])
    client, good = create_app(service).test_client(), frame(tiny_bundle)
    for body in (good, good, b"noise"):
        infer(client, body)
    client.get("/what/a/client/sends/is/no/label")
    response = client.get("/metrics")
    assert response.content_type.startswith("text/plain")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }
    assert samples["ppsplit_requests_total", "ok", "/v1/infer"] == 2
    assert samples["ppsplit_requests_total", "bad_frame", "/v1/infer"] == 1
    assert samples["ppsplit_requests_total", "not_found", "other"] == 1
    assert samples["ppsplit_request_seconds_count", "/v1/infer"] == 3
    assert samples["ppsplit_bytes_total", "in"] == 2 * len(good) + len(b"noise")
    assert samples["ppsplit_bytes_total", "out"] > 0
    for stage in ("decode_features", "queue", "tail", "decode"):
        assert samples["ppsplit_stage_seconds_count", stage] == 2
    assert samples["ppsplit_stage_seconds_sum", "tail"] > 0
    assert samples["ppsplit_batch_images_count",] == 2
    assert samples["ppsplit_requests_in_work",] == 0
    assert samples["ppsplit_bundles",] == 1
    assert "client/sends" not in response.text
    service.shelf.close()


def test_a_line_of_the_log_is_json_and_has_the_id(client: Any, tiny_bundle: Path, caplog: Any, monkeypatch) -> None:
    with caplog.at_level(logging.INFO, "ppsplit.cloud"):
        infer(client, frame(tiny_bundle), PPSplit_Request_Id="frame-7")
        infer(client, b"noise", PPSplit_Request_Id="frame-8")
        monkeypatch.setattr(Programs, "run", lambda *_: 1 / 0)
        infer(client, frame(tiny_bundle), PPSplit_Request_Id="frame-9")
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    first, second, fault, third = lines
    assert (first["request_id"], first["status"], first["code"], first["level"]) == ("frame-7", 200, "ok", "info")
    assert first["bytes_in"] == len(frame(tiny_bundle))
    assert set(first["times_ms"]) == {"decode_features", "queue", "tail", "decode"}
    assert first["latency_ms"] > first["times_ms"]["tail"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    assert (second["request_id"], second["status"], second["code"]) == ("frame-8", 400, "bad_frame")
    assert (fault["request_id"], fault["level"]) == ("frame-9", "error")
    assert "ZeroDivisionError" in fault["traceback"]
    assert (third["status"], third["code"]) == (500, "internal")


@pytest.mark.parametrize("wrong", [{"max_requests": 0}, {"timeout_s": 0}, {"rate": "fast"}, {"tokens": Path("/none")}])
def test_senseless_limits_are_refused(tiny_bundle: Path, wrong: Any) -> None:
    with pytest.raises(ConfigError):
        make_service([tiny_bundle], **wrong)
