"""An engine under waitress, a production WSGI server: one process, some threads."""

from __future__ import annotations

import json
import logging
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import waitress.server
from waitress.channel import HTTPChannel
from waitress.task import ErrorTask

from ppsplit.bundle import FULL, TAIL, Bundle
from ppsplit.cloud.app import HTTP_CODES, create_app, error_json
from ppsplit.cloud.engine import RUNTIME, Engine
from ppsplit.codec import MAX_BATCH
from ppsplit.errors import ConfigError, PPSplitError
from ppsplit.runtime.choice import RUNTIMES

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8866
# They parse and wait for the one network; the network's own threads are Engine's.
HTTP_THREADS = 8
# A request that comes half holds its connection: many may, none for long, and all fit the 1024 files of a process.
MAX_CONNECTIONS = 900
IDLE_TIMEOUT_S = 20
CLEANUP_INTERVAL_S = 5

log = logging.getLogger(__name__)


def serve(
    bundle_path: Path,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    threads: int = 1,
    max_batch: int = MAX_BATCH,
    runtime: str = RUNTIME,
) -> int:
    """Serve a bundle until SIGTERM or SIGINT; prints the URL as soon as it listens. To be called in the main thread.

    There is no authentication and no defence against a flood: put a proxy in front on a public network.

    Args:
        port: 0 for any free one.
        threads: of the network's runtime.
        runtime: of the network, of `runtime.choice.WHOLE`.

    Returns:
        the process's exit code, 0 after a signal.

    Raises:
        BundleError: no bundle there, or it has nothing for this runtime.
        ConfigError: host or port cannot be used.
        InferenceRuntimeError: the runtime is not installed, or the decode family is unknown.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    engine = Engine(Bundle.open(Path(bundle_path)), threads, max_batch, runtime)
    _check_held(engine.bundle, runtime)
    listener = _listen(host, port)
    _end_on_signals(runtime)
    server = make_server(engine, listener)
    print(f"serving {engine.bundle.manifest.name} on {_url(listener)} (Ctrl-C ends it)", flush=True)
    threading.Thread(target=_warm_up, args=(engine,), daemon=True).start()
    try:
        server.run()  # returns on the SystemExit of a signal, after the requests in work are answered
    finally:
        server.close()
    return 0


def make_server(engine: Engine, listener: socket.socket) -> Any:
    """A waitress server on a bound socket; `run` serves, `close` ends it."""
    limit = engine.max_body_bytes
    server = waitress.server.create_server(
        create_app(engine),
        sockets=[listener],
        threads=HTTP_THREADS,
        ident=None,
        max_request_body_size=limit + 1,  # waitress refuses at this size, not above it
        inbuf_overflow=limit + 1,  # bodies stay in memory: none is larger than a message of this bundle
        connection_limit=MAX_CONNECTIONS,
        channel_timeout=IDLE_TIMEOUT_S,
        cleanup_interval=CLEANUP_INTERVAL_S,
        asyncore_use_poll=True,  # select takes no more than 1024 files
        clear_untrusted_proxy_headers=True,
    )
    server.channel_class = _Channel
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a queue is what a burst makes, no fault
    return server


class _JsonErrorTask(ErrorTask):
    """What waitress refuses by itself (sizes, broken HTTP), said as the app says it."""

    def execute(self) -> None:
        error = self.request.error
        code = HTTP_CODES.get(error.code, "internal" if error.code == 500 else "bad_request")
        body = json.dumps(error_json(code, f"{error.reason}: {error.body}")).encode("utf-8")
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Channel(HTTPChannel):
    error_task_class = _JsonErrorTask


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"cannot listen on {host}:{port} ({reason}); free the port, or choose another (--port 0 takes any free one)"
        ) from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _check_held(bundle: Bundle, runtime: str) -> None:
    """Raise BundleError now, not at the first request, where the bundle has nothing for the runtime."""
    for cut in bundle.manifest.cuts:
        for part in (TAIL, FULL):
            bundle.program(cut, part, RUNTIMES[runtime].reads)


def _end_on_signals(runtime: str) -> None:
    # Paddle puts its own handlers in place when it is imported; ours must come later to be the ones that count
    RUNTIMES[runtime].ensure()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))


def _warm_up(engine: Engine) -> None:
    try:
        engine.warm_up()
    except PPSplitError as error:
        log.error("the warm-up inference failed, /readyz stays 503: %s", error)
    except Exception:
        log.exception("the warm-up inference failed, /readyz stays 503")
