"""The HTTP face: wire/FORMAT.md section 6 as a Flask app. Made by `create_app`, nothing at import."""

from __future__ import annotations

import json
import logging
from typing import Any, Dict, Optional, Tuple

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from ppsplit.cloud.answer import to_frame, to_json
from ppsplit.cloud.engine import Engine
from ppsplit.cloud.guard import add_guard, admit, check_digest
from ppsplit.cloud.metrics import CONTENT_TYPE
from ppsplit.cloud.refusal import RefusedError
from ppsplit.cloud.result import Result
from ppsplit.cloud.service import Service
from ppsplit.errors import CodecError, ImageError, OptionsError, WireError
from ppsplit.wire import FEATURES_TYPE, TENSORS_TYPE, FeatureMessage, Options, unpack
from ppsplit.wire.http import REQUEST_DIGEST_HEADER, RETRY_AFTER_HEADER, request_digest

JPEG_TYPE, JSON_TYPE = "image/jpeg", "application/json"
HTTP_CODES = {401: "unauthorized", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}

log = logging.getLogger(__name__)


def create_app(service: Service) -> Flask:
    """A Flask app that serves `service`. Loads no program; `Shelf.warm_up` does."""
    app = Flask(__name__)
    add_guard(app, service)
    _add_inference(app, service)
    _add_status(app, service)
    _add_errors(app, service)
    return app


def error_json(code: str, message: str) -> Dict[str, Any]:
    """The body of every refusal."""
    return {"error": {"code": code, "message": message}}


def _add_inference(app: Flask, service: Service) -> None:
    @app.post("/v1/infer")
    def infer() -> Response:
        deadline_s = admit(service)
        with service.room.place():
            body = _body(FEATURES_TYPE, service)
            message = unpack(body)
            if not isinstance(message, FeatureMessage):
                raise WireError("the frame holds a tensors message; features are expected here")
            with service.shelf.lease(message.bundle) as engine:
                _check_size(body, engine)
                return _answer(engine.infer(message, deadline_s), engine)

    @app.post("/v1/infer-image")
    def infer_image() -> Response:
        deadline_s = admit(service)
        with service.room.place():
            body = _body(JPEG_TYPE, service)
            fingerprint, options = _query()
            with service.shelf.lease(fingerprint) as engine:
                _check_size(body, engine)
                response = _answer(engine.infer_image(body, options, deadline_s), engine)
                response.headers[REQUEST_DIGEST_HEADER] = request_digest(request.query_string, body)
                return response


def _add_status(app: Flask, service: Service) -> None:
    @app.get("/v1/bundle")
    def bundle() -> Response:
        return _json(service.shelf.manifest().to_json())

    @app.get("/v1/bundle/<fingerprint>")
    def one_bundle(fingerprint: str) -> Response:
        return _json(service.shelf.manifest(fingerprint).to_json())

    @app.get("/v1/bundles")
    def bundles() -> Response:
        return _json(service.shelf.listing())

    @app.get("/healthz")
    def healthz() -> Response:
        return _json({"alive": True})

    @app.get("/readyz")
    def readyz() -> Response:
        if service.draining:
            raise RefusedError(503, "shutting_down", "the server is being ended")
        if not service.ready:
            raise RefusedError(503, "not_ready", "the warm-up inference has not passed yet; ask again")
        return _json({"ready": True})

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(service.metrics.text(), content_type=CONTENT_TYPE)


def _add_errors(app: Flask, service: Service) -> None:
    @app.errorhandler(Exception)
    def refuse(error: Exception) -> Response:
        status, code, message = _meaning(error, service)
        g.code = code
        if status >= 500 and not isinstance(error, RefusedError):
            log.error("%s %s failed", request.method, request.path, exc_info=error, extra={"request_id": g.request_id})
        response = _json(error_json(code, message))
        response.status_code = status
        if status in (429, 503):
            response.headers[RETRY_AFTER_HEADER] = str(getattr(error, "retry_after_s", None) or 1)
        return response


def _meaning(error: Exception, service: Service) -> Tuple[int, str, str]:
    """Status, code and message of what was raised while a request was served."""
    if isinstance(error, RefusedError):
        return error.status, error.code, str(error)
    if isinstance(error, MemoryError):
        return 503, "out_of_memory", "there was not enough memory for this request; ask again"
    if isinstance(error, (CodecError, OptionsError)):
        return 422, "bad_features", str(error)
    if isinstance(error, WireError):
        return 400, "bad_frame", str(error)
    if isinstance(error, ImageError):
        return 422, "bad_image", str(error)
    if isinstance(error, HTTPException) and error.code is not None and error.code < 500:
        message = error.description or error.name
        if error.code == 413:
            message = _too_large(service.shelf.max_body_bytes)
        return error.code, HTTP_CODES.get(error.code, "bad_request"), message
    return 500, "internal", f"the server failed on this request ({type(error).__name__}); its log says more"


def _body(content_type: str, service: Service) -> bytes:
    """The request's body, after its type, size and digest were checked.

    Raises:
        RefusedError: another content type, or another digest than its sender says.
        RequestEntityTooLarge: longer than any message can be, by its header or, if chunked, while it is read.
    """
    if request.mimetype != content_type:
        raise RefusedError(
            415, "wrong_content_type", f"the body is {request.mimetype!r:.99}, expected {content_type!r}"
        )
    request.max_content_length = service.shelf.max_body_bytes
    body = request.get_data(cache=False)
    check_digest(body)
    return body


def _check_size(body: bytes, engine: Engine) -> None:
    g.bundle = engine.bundle.manifest.fingerprint
    if len(body) > engine.max_body_bytes:  # of several bundles another one may take more
        raise RefusedError(413, "too_large", _too_large(engine.max_body_bytes))


def _too_large(limit: int) -> str:
    return f"the body is too large; for this bundle it has at most {limit} bytes"


def _query() -> Tuple[Optional[str], Options]:
    """The fingerprint and the wishes for decoding in the query."""
    values = request.args.to_dict()
    fingerprint = values.pop("bundle", None)
    try:
        return fingerprint, Options.from_map({key: _number(text) for key, text in values.items()})
    except (WireError, ValueError) as error:
        raise RefusedError(422, "bad_features", f"the query cannot be used: {error}") from error


def _number(text: str) -> float:
    """Digits as an int, since that is what a count must be, all else as a float. Raises ValueError."""
    return int(text) if text.isdecimal() else float(text)


def _answer(result: Result, engine: Engine) -> Response:
    g.times_ms = result.times_ms
    if result.outputs is not None:
        return Response(to_frame(result, engine.bundle.manifest), mimetype=TENSORS_TYPE)
    return _json(to_json(result, engine.bundle.manifest))


def _json(values: Any) -> Response:
    return Response(json.dumps(values, allow_nan=False), mimetype=JSON_TYPE)
