"""The cloud half on Ray Serve: several replicas of it behind one address, on one machine or many.

Serve's part is to route, to start and replace replicas, and to update them one after another. What a replica answers
is the same app that `serve` runs without Ray. Imported with --ray alone.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, AsyncIterator, Dict, Optional, Sequence

import ray
import ray.serve
from ray.exceptions import RayError
from ray.serve.context import _get_global_client
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ppsplit.cloud import log as logs
from ppsplit.cloud.app import create_app
from ppsplit.cloud.http_server import IDLE_TIMEOUT_S
from ppsplit.cloud.mount import Answer, Head, Mount
from ppsplit.cloud.programs import EngineOptions
from ppsplit.cloud.ray_cluster import cluster
from ppsplit.cloud.server import GRACE_S, ServeOptions, check_access
from ppsplit.cloud.service import Service, make_service
from ppsplit.errors import ConfigError, InferenceRuntimeError

APPLICATION = "ppsplit"
# Requests that a replica holds, those included whose body still comes and those it is about to refuse. Far above what
# its `Room` takes on, so that the refusals are ours, with their code and Retry-After, and not the router's.
MAX_HELD = 256
HEALTH_PERIOD_S, HEALTH_TIMEOUT_S = 2.0, 30.0
START_TRIES = 3
QUIET = {"log_level": "WARNING", "enable_access_log": False}  # our own line for each request has its id

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How many replicas, and where.

    Attributes:
        address: of a running cluster; None for one of this process's own, see `ray_cluster.cluster`.
        replicas: how many; with `max_replicas` the fewest.
        max_replicas: the most, between which the number follows the load; None for always `replicas`.
        cpus: that a replica takes of what the cluster has to give out.
        upscale_after_s, downscale_after_s: how long the load must ask for another number of replicas.

    Raises:
        ConfigError: replicas below 1, max_replicas below replicas, or cpus not above 0.
    """

    address: Optional[str] = None
    replicas: int = 2
    max_replicas: Optional[int] = None
    cpus: float = 1.0
    upscale_after_s: float = 5.0
    downscale_after_s: float = 120.0

    def __post_init__(self) -> None:
        if self.replicas < 1 or self.most < self.replicas:
            raise ConfigError(f"{self.replicas} to {self.most} replicas cannot be; expected at least 1, and no fewer")
        if not self.cpus > 0:
            raise ConfigError(f"a replica of {self.cpus} CPUs cannot be; expected more than 0")

    @property
    def most(self) -> int:
        """The most replicas."""
        return self.replicas if self.max_replicas is None else self.max_replicas

    @property
    def all_cpus(self) -> float:
        """That the replicas can come to take, with the two of an update: one that starts and one that ends."""
        return (self.most + 2) * self.cpus


class Replica:
    """One process's service. Serve sends it requests when it has been made, which is when a warm-up has passed.

    Raises:
        BundleError, ConfigError, InferenceRuntimeError: as `server.serve`.
    """

    def __init__(self, bundles: Sequence[Path], options: ServeOptions, engine: EngineOptions) -> None:
        logs.set_up(options.log)
        self._service = _service(bundles, options, engine)
        self._service.shelf.warm_up()
        self._mount = Mount(create_app(self._service), self._service)
        threading.Thread(target=self._service.shelf.watch, daemon=True).start()

    async def __call__(self, request: Request) -> Response:
        """The app's answer."""
        client = request.client.host if request.client is not None else ""
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
        head = Head(request.method, request.url.path, request.url.query, headers, client)
        return _response(await self._mount.answer(head, _chunks(request)))

    def check_health(self) -> None:
        """Called by Serve, which replaces this replica when it raises."""
        if not self._service.ready:
            raise InferenceRuntimeError("the bundles are not served any more")

    def __del__(self) -> None:  # called by Serve when the last request has been answered
        if hasattr(self, "_mount"):
            self._mount.close()
            self._service.shelf.close()


def serve(bundles: Sequence[Path], options: ServeOptions, engine: EngineOptions, plan: Plan) -> int:
    """Serve bundles from replicas; prints the URL when all answer.

    On a cluster of our own, until SIGTERM or SIGINT, to be called in the main thread. On one that runs already, the
    service stays there when this returns; what was served there before is replaced, one replica after another.

    Returns:
        the process's exit code.

    Raises:
        BundleError, ConfigError, InferenceRuntimeError: as `server.serve`; or no cluster, or it has no place.
    """
    logs.set_up(options.log)
    check_access(options)
    options = replace(options, port=options.port or _free_port(options.host))
    service = _service(bundles, options, engine)  # what is wrong is told before anything starts
    names = ", ".join(bundle["name"] for bundle in service.shelf.listing())
    service.shelf.close()
    with cluster(plan.address, plan.all_cpus):
        url = deploy(bundles, options, engine, plan)
        if plan.address is not None:
            print(f"serving {names} on {url} of the cluster (`serve shutdown` ends it)", flush=True)
            return 0
        ended = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        here = ray.get_runtime_context().gcs_address
        print(f"serving {names} on {url} (Ctrl-C ends it, --ray-address {here} updates it)", flush=True)
        ended.wait()
        ray.serve.shutdown()  # after what was begun
    return 0


def deploy(bundles: Sequence[Path], options: ServeOptions, engine: EngineOptions, plan: Plan) -> str:
    """Put the service on the cluster that this process is connected to, and wait until all replicas are ready.

    Where one is there already, its replicas are replaced: one new is started and warmed up before an old one is
    taken out, which first answers what it has begun.

    Args:
        bundles: the same paths must hold them on every machine of the cluster; likewise the file of tokens.

    Returns:
        the URL.

    Raises:
        ConfigError: Serve runs there already and listens elsewhere.
        InferenceRuntimeError: the replicas did not start.
    """
    http = {"host": options.host, "port": options.port, "keep_alive_timeout_s": IDLE_TIMEOUT_S}
    try:
        ray.serve.start(proxy_location="EveryNode", http_options=http, logging_config=QUIET)
    except TimeoutError:  # it goes on starting, and a minute may be too short for it; `run` waits for it
        ray.serve.start()
    _check_listening(options)
    if options.tokens is not None:
        options = replace(options, tokens=options.tokens.resolve())
    deployment = ray.serve.deployment(Replica, **_deployment_options(engine, plan))
    paths = [Path(path).resolve() for path in bundles]
    try:
        ray.serve.run(deployment.bind(paths, options, engine), name=APPLICATION, route_prefix="/")
    except (RuntimeError, RayError) as error:
        raise InferenceRuntimeError(
            f"the replicas did not start ({error}); see whether the cluster has {plan.all_cpus} CPUs to give out and "
            "every machine of it the bundle at the same path, and Ray's logs in /tmp/ray/session_latest/logs/serve"
        ) from error
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"http://{host}:{options.port}"


def _deployment_options(engine: EngineOptions, plan: Plan) -> Dict[str, Any]:
    number: Dict[str, Any] = {"num_replicas": plan.replicas}
    if plan.max_replicas is not None:
        number = {
            "autoscaling_config": {
                "min_replicas": plan.replicas,
                "max_replicas": plan.max_replicas,
                "target_ongoing_requests": engine.max_batch,  # a full batch runs, and the next one gathers beyond it
                "upscale_delay_s": plan.upscale_after_s,
                "downscale_delay_s": plan.downscale_after_s,
                "look_back_period_s": plan.upscale_after_s,
            }
        }
    actor = {"num_cpus": plan.cpus, "num_gpus": int(engine.compute.device == "gpu")}
    return {
        **number,
        "name": "cloud",
        "ray_actor_options": actor,
        "max_ongoing_requests": MAX_HELD,
        "max_queued_requests": MAX_HELD,
        "graceful_shutdown_timeout_s": GRACE_S,
        "graceful_shutdown_wait_loop_s": 0.5,
        "health_check_period_s": HEALTH_PERIOD_S,
        "health_check_timeout_s": HEALTH_TIMEOUT_S,
        "max_constructor_retry_count": START_TRIES,
        "max_surge_percent": 1,  # rounded up to one replica
        "logging_config": QUIET,
    }


def _check_listening(options: ServeOptions) -> None:
    """Serve keeps the address it was started with, without a word; who may come in depends on it."""
    kept = _get_global_client().http_config
    if (kept.host, kept.port) != (options.host, options.port):
        raise ConfigError(
            f"Ray Serve runs on this cluster already and listens on {kept.host}:{kept.port}, not on "
            f"{options.host}:{options.port}; give that --host and --port, or end it with `serve shutdown`"
        )


def _free_port(host: str) -> int:
    """A port that nobody listens on now; Serve takes no 0."""
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        return int(listener.getsockname()[1])


def _service(bundles: Sequence[Path], options: ServeOptions, engine: EngineOptions) -> Service:
    return make_service(
        bundles, engine, options.max_requests, options.tokens, options.rate, options.timeout_s, options.unload_after_s
    )


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:  # nobody reads the answer to what came
        return


def _response(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    response.raw_headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    return response
