"""What of the app needs no socket: not ready, and faults of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ppsplit.bundle import Bundle
from ppsplit.cloud.app import create_app
from ppsplit.cloud.engine import Engine
from ppsplit.errors import InferenceRuntimeError
from ppsplit.wire import FEATURES_TYPE
from tests.cloud.requests import frame


@pytest.fixture
def engine(tiny_bundle: Path) -> Engine:
    return Engine(Bundle.open(tiny_bundle))


def test_it_is_not_ready_before_the_warm_up(engine: Engine) -> None:
    client = create_app(engine).test_client()
    response = client.get("/readyz")
    assert (response.status_code, response.get_json()["error"]["code"]) == (503, "not_ready")
    assert response.headers["Retry-After"] == "1"
    assert client.get("/healthz").status_code == 200
    engine.warm_up()
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("error", [InferenceRuntimeError("no memory"), MemoryError(), KeyError("x"), AssertionError()])
def test_our_own_faults_are_500_in_json_and_keep_details_in_the_log(
    engine: Engine, tiny_bundle: Path, monkeypatch: Any, caplog: Any, error: Exception
) -> None:
    client = create_app(engine).test_client()
    body = frame(tiny_bundle)

    def fail(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(engine, "_run", fail)
        response = client.post("/v1/infer", data=body, content_type=FEATURES_TYPE)
    assert (response.status_code, response.get_json()["error"]["code"]) == (500, "internal")
    assert "no memory" not in response.text
    assert "no memory" in caplog.text or not isinstance(error, InferenceRuntimeError)
    assert client.post("/v1/infer", data=body, content_type=FEATURES_TYPE).status_code == 200


def test_the_size_is_checked_without_a_server_in_front_too(engine: Engine) -> None:
    response = (
        create_app(engine)
        .test_client()
        .post("/v1/infer", data=bytes(engine.max_body_bytes + 1), content_type=FEATURES_TYPE)
    )
    assert (response.status_code, response.get_json()["error"]["code"]) == (413, "too_large")
    assert str(engine.max_body_bytes) in response.get_json()["error"]["message"]
