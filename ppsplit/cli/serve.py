"""`ppsplit serve`: the cloud half."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Optional

from ppsplit.cli.options import Names
from ppsplit.cloud import programs, room, server, service, shelf
from ppsplit.cloud.programs import EngineOptions
from ppsplit.cloud.ray_cluster import prepare_ray
from ppsplit.cloud.server import ServeOptions
from ppsplit.runtime.compute import Compute


def serve(
    bundle: Names = ["freezed/yolov3_tiny-split"],  # noqa: B006
    host: str = server.DEFAULT_HOST,
    port: int = server.DEFAULT_PORT,
    runtime: Literal["paddle", "onnx", "openvino"] = "paddle",
    threads: int = 1,
    workers: int = 1,
    precision: Literal["fp32", "bf16"] = "fp32",
    device: Literal["cpu", "gpu"] = "cpu",
    max_batch: int = programs.DEFAULT_MAX_BATCH,
    max_wait_ms: float = programs.DEFAULT_MAX_WAIT_MS,
    max_requests: int = room.DEFAULT_MAX_REQUESTS,
    timeout_s: float = service.DEFAULT_TIMEOUT_S,
    tokens: Optional[Path] = None,
    insecure: bool = False,
    rate: Optional[str] = None,
    log: Literal["text", "json"] = "text",
    unload_after_s: float = shelf.UNLOAD_AFTER_S,
    ray: bool = False,
    ray_address: Optional[str] = None,
    replicas: int = 2,
    max_replicas: Optional[int] = None,
    replica_cpus: float = 1.0,
) -> int:
    """Answer the edge's requests for one bundle or several until Ctrl-C.

    Args:
        bundle: The bundle, the same as the edge's; several as A,B, the default one first. A new version in its place
            is taken up without a restart.
        host: Address to listen on, 0.0.0.0 for all; other machines need a token, see --tokens.
        port: TCP port; 0 takes a free one. The URL is printed.
        runtime: What runs the network; onnx where the bundle was exported with --format onnx.
        threads: Threads of the network's runtime.
        workers: How many batches run at once, each in a copy of the programs. Under load N workers of one thread do
            more than one of N; one alone answers a single request sooner.
        precision: bf16 for processors that multiply bfloat16 (AMX, AVX512_BF16), some 3 digits exact; paddle only.
        device: gpu with paddlepaddle-gpu; paddle only.
        max_batch: The most images that one message may hold, and that are run together.
        max_wait_ms: How long a request may wait for others to run with. Nothing waits while requests come one by one.
        max_requests: The most requests taken on at once; more are refused at once, to be sent again later.
        timeout_s: For requests that do not say how much time they have.
        tokens: File of bearer tokens, one a line; read again when it changes.
        insecure: Let other machines in without a token.
        rate: The most requests of each client, by token, else by address, such as 20/second.
        log: text for faults alone, json for a line for each request, too; on stderr.
        unload_after_s: How long an old version of a bundle is kept after it was last asked for.
        ray: Serve from replicas on Ray Serve, which `make ray` installs; all other options are then each replica's.
        ray_address: A cluster that runs, auto for the one this machine belongs to: the service is put there, in place
            of one that was there before, and stays. Without it, a cluster on this machine alone, until Ctrl-C.
        replicas: With --ray, how many processes serve.
        max_replicas: With --ray, let the load decide, between --replicas and so many.
        replica_cpus: With --ray, CPUs of the cluster that a replica takes; as many as --threads, as a rule.
    """
    engine = EngineOptions(threads, max_batch, max_wait_ms, runtime, Compute(precision, device), workers)
    options = ServeOptions(host, port, max_requests, timeout_s, tokens, insecure, rate, log, unload_after_s)
    bundles = [Path(path) for path in bundle]
    if not ray:
        return server.serve(bundles, options, engine)
    prepare_ray(ray_address)
    from ppsplit.cloud import ray_serve  # brings Ray

    plan = ray_serve.Plan(ray_address, replicas, max_replicas, replica_cpus)
    return ray_serve.serve(bundles, options, engine, plan)
