"""The cloud half as a process: bundles behind HTTP until a signal ends it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Sequence

from ppsplit.cloud import log as logs
from ppsplit.cloud.app import create_app
from ppsplit.cloud.http_server import HttpServer
from ppsplit.cloud.programs import EngineOptions
from ppsplit.cloud.rate import is_loopback
from ppsplit.cloud.room import DEFAULT_MAX_REQUESTS
from ppsplit.cloud.service import DEFAULT_TIMEOUT_S, Service, make_service
from ppsplit.cloud.shelf import UNLOAD_AFTER_S
from ppsplit.errors import ConfigError, PPSplitError
from ppsplit.runtime.choice import RUNTIMES
from ppsplit.runtime.compute import GPU
from ppsplit.runtime.paddle import check_gpu_here

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8866
GRACE_S = 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServeOptions:
    """Where and to whom a server answers.

    Attributes:
        host, port: to listen on; port 0 takes any free one.
        max_requests: how many are taken on at once.
        timeout_s: for requests that do not say how much time they have.
        tokens: file of bearer tokens; None lets everybody in.
        insecure: that everybody may come in from other machines, too.
        rate: for each client, such as "20/second".
        log: "text" or "json".
        unload_after_s: how long an old version of a bundle is held after it was last asked for.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    max_requests: int = DEFAULT_MAX_REQUESTS
    timeout_s: float = DEFAULT_TIMEOUT_S
    tokens: Optional[Path] = None
    insecure: bool = False
    rate: Optional[str] = None
    log: str = logs.TEXT
    unload_after_s: float = UNLOAD_AFTER_S


def serve(bundles: Sequence[Path], options: ServeOptions, engine: EngineOptions) -> int:
    """Serve bundles until SIGTERM or SIGINT; prints the URL as soon as it listens. To be called in the main thread.

    Returns:
        the process's exit code: 0 after a signal when all requests that were taken on were answered, else 1.

    Raises:
        BundleError: no bundle there, or it has nothing for this runtime.
        ConfigError: host, port, or a limit cannot be used; or other machines would be let in without a token.
        InferenceRuntimeError: the runtime is not installed, has no GPU to use, or the decode family is unknown.
    """
    logs.set_up(options.log)
    check_access(options)
    # Before Paddle is loaded: between two operators OpenMP's threads would otherwise spin, for 200 ms, on the cores
    # that are to receive and decode the next requests
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if engine.compute.device == GPU:
        check_gpu_here()
    service = make_service(
        bundles, engine, options.max_requests, options.tokens, options.rate, options.timeout_s, options.unload_after_s
    )
    listener = _listen(options.host, options.port)
    server = HttpServer(create_app(service), service, listener)
    _end_on_signals(server, engine.runtime)
    names = ", ".join(bundle["name"] for bundle in service.shelf.listing())
    print(f"serving {names} on {_url(listener)} (Ctrl-C ends it)", flush=True)
    threading.Thread(target=_warm_up, args=(service,), daemon=True).start()
    finished = server.run(GRACE_S)
    if not finished:
        log.error("some requests were not finished within %s s", GRACE_S)
        return 1
    service.shelf.close()
    return 0


def check_access(options: ServeOptions) -> None:
    """Raise ConfigError where other machines would be let in without a token, unless that is wished."""
    if options.tokens is None and not options.insecure and not is_loopback(options.host):
        raise ConfigError(
            f"{options.host} can be reached from other machines, and everybody there could use this server; "
            "give --tokens FILE, listen on 127.0.0.1 behind a proxy, or say --insecure"
        )


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


def _end_on_signals(server: HttpServer, runtime: str) -> None:
    # Paddle puts its own handlers in place when it is imported; ours must come later to be the ones that count
    RUNTIMES[runtime].ensure()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())


def _warm_up(service: Service) -> None:
    try:
        service.shelf.warm_up()
    except PPSplitError as error:
        log.error("the warm-up inference failed, /readyz stays 503: %s", error)
    except Exception:
        log.exception("the warm-up inference failed, /readyz stays 503")
    service.shelf.watch()
