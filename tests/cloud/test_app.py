"""What of the app needs no socket: not ready, and faults of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

import pytest

from ppsplit.cloud.app import create_app
from ppsplit.cloud.programs import Programs
from ppsplit.cloud.service import Service, make_service
from ppsplit.errors import InferenceRuntimeError
from ppsplit.wire import FEATURES_TYPE
from tests.cloud.requests import frame


@pytest.fixture
def service(tiny_bundle: Path) -> Iterator[Service]:
    made = make_service([tiny_bundle])
    yield made
    made.shelf.close()


def test_it_is_not_ready_before_the_warm_up(service: Service) -> None:
    client = create_app(service).test_client()
    response = client.get("/readyz")
    assert (response.status_code, response.get_json()["error"]["code"]) == (503, "not_ready")
    assert response.headers["Retry-After"] == "1"
    assert client.get("/healthz").status_code == 200
    service.shelf.warm_up()
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("error", [InferenceRuntimeError("no memory"), KeyError("x"), AssertionError()])
def test_our_own_faults_are_500_in_json_and_keep_details_in_the_log(
    service: Service, tiny_bundle: Path, monkeypatch: Any, caplog: Any, error: Exception
) -> None:
    client = create_app(service).test_client()
    body = frame(tiny_bundle)

    def fail(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Programs, "run", fail)
        response = client.post("/v1/infer", data=body, content_type=FEATURES_TYPE)
    assert (response.status_code, response.get_json()["error"]["code"]) == (500, "internal")
    assert "no memory" not in response.text
    assert "no memory" in caplog.text or not isinstance(error, InferenceRuntimeError)
    assert client.post("/v1/infer", data=body, content_type=FEATURES_TYPE).status_code == 200


def test_the_size_is_checked_without_a_server_in_front_too(service: Service) -> None:
    response = (
        create_app(service)
        .test_client()
        .post("/v1/infer", data=bytes(service.shelf.max_body_bytes + 1), content_type=FEATURES_TYPE)
    )
    assert (response.status_code, response.get_json()["error"]["code"]) == (413, "too_large")
    assert str(service.shelf.max_body_bytes) in response.get_json()["error"]["message"]
