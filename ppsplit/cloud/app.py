"""The HTTP face of an engine: wire/FORMAT.md section 6 as a Flask app. Made by `create_app`, nothing at import."""

from __future__ import annotations

import json
import logging
from typing import Any, Dict, Tuple, Union

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from ppsplit.cloud.answer import to_frame, to_json
from ppsplit.cloud.engine import Engine, Result
from ppsplit.cloud.refusal import RefusedError
from ppsplit.errors import CodecError, ImageError, OptionsError, WireError
from ppsplit.wire import FEATURES_TYPE, TENSORS_TYPE, FeatureMessage, Options, unpack

JPEG_TYPE, JSON_TYPE = "image/jpeg", "application/json"
HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
Answer = Union[Response, Tuple[Response, int]]

log = logging.getLogger(__name__)


def create_app(engine: Engine) -> Flask:
    """A Flask app that serves `engine`. Loads no program; `Engine.warm_up` does."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = engine.max_body_bytes
    _add_inference(app, engine)
    _add_status(app, engine)
    _add_errors(app, engine)
    return app


def error_json(code: str, message: str) -> Dict[str, Any]:
    """The body of every refusal."""
    return {"error": {"code": code, "message": message}}


def _add_inference(app: Flask, engine: Engine) -> None:
    @app.post("/v1/infer")
    def infer() -> Response:
        message = unpack(_body(FEATURES_TYPE))
        if not isinstance(message, FeatureMessage):
            raise WireError("the frame holds a tensors message; features are expected here")
        return _answer(engine.infer(message), engine)

    @app.post("/v1/infer-image")
    def infer_image() -> Response:
        return _answer(engine.infer_image(_body(JPEG_TYPE), _query_options()), engine)


def _add_status(app: Flask, engine: Engine) -> None:
    @app.get("/v1/bundle")
    def bundle() -> Response:
        return _json(engine.bundle.manifest.to_json())

    @app.get("/healthz")
    def healthz() -> Response:
        return _json({"alive": True})

    @app.get("/readyz")
    def readyz() -> Answer:
        if engine.ready:
            return _json({"ready": True})
        not_ready = _json(error_json("not_ready", "the warm-up inference has not passed yet; ask again"))
        not_ready.headers["Retry-After"] = "1"
        return not_ready, 503


def _add_errors(app: Flask, engine: Engine) -> None:
    @app.errorhandler(Exception)
    def refuse(error: Exception) -> Answer:
        status, code, message = _meaning(error, engine)
        if status >= 500:
            log.error("%s %s failed", request.method, request.path, exc_info=error)
        return _json(error_json(code, message)), status


def _meaning(error: Exception, engine: Engine) -> Tuple[int, str, str]:
    """Status, code and message of what was raised while a request was served."""
    if isinstance(error, RefusedError):
        return error.status, error.code, str(error)
    if isinstance(error, (CodecError, OptionsError)):
        return 422, "bad_features", str(error)
    if isinstance(error, WireError):
        return 400, "bad_frame", str(error)
    if isinstance(error, ImageError):
        return 422, "bad_image", str(error)
    if isinstance(error, HTTPException) and error.code is not None and error.code < 500:
        message = error.description or error.name
        if error.code == 413:
            message = f"the body is too large; for this bundle it has at most {engine.max_body_bytes} bytes"
        return error.code, HTTP_CODES.get(error.code, "bad_request"), message
    return 500, "internal", f"the server failed on this request ({type(error).__name__}); its log says more"


def _body(content_type: str) -> bytes:
    """The request's body, after its type and size were checked.

    Raises:
        RefusedError: another content type.
        RequestEntityTooLarge: longer than MAX_CONTENT_LENGTH, by its header or, if chunked, while it is read.
    """
    if request.mimetype != content_type:
        raise RefusedError(
            415, "wrong_content_type", f"the body is {request.mimetype!r:.99}, expected {content_type!r}"
        )
    return request.get_data(cache=False)


def _query_options() -> Options:
    try:
        return Options.from_map({key: _number(text) for key, text in request.args.items()})
    except (WireError, ValueError) as error:
        raise RefusedError(422, "bad_features", f"the query cannot be used: {error}") from error


def _number(text: str) -> float:
    """Digits as an int, since that is what a count must be, all else as a float. Raises ValueError."""
    return int(text) if text.isdecimal() else float(text)


def _answer(result: Result, engine: Engine) -> Response:
    if result.outputs is not None:
        return Response(to_frame(result, engine.bundle.manifest), mimetype=TENSORS_TYPE)
    return _json(to_json(result, engine.bundle.manifest))


def _json(values: Any) -> Response:
    return Response(json.dumps(values, allow_nan=False), mimetype=JSON_TYPE)
