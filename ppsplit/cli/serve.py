"""`ppsplit serve`: the cloud half."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ppsplit.cloud import server
from ppsplit.cloud.engine import MAX_BATCH


def serve(
    bundle: Path = Path("freezed/yolov3_tiny-split"),
    host: str = server.DEFAULT_HOST,
    port: int = server.DEFAULT_PORT,
    runtime: Literal["paddle", "onnx", "openvino"] = "paddle",
    threads: int = 1,
    max_batch: int = MAX_BATCH,
) -> int:
    """Answer the edge's requests for one bundle until Ctrl-C.

    Args:
        bundle: The bundle, the same as the edge's.
        host: Address to listen on, 0.0.0.0 for all. Who can reach it can use it, there is no authentication; put a
            proxy in front on a public network.
        port: TCP port; 0 takes a free one. The URL is printed.
        runtime: What runs the network; onnx where the bundle was exported with --format onnx.
        threads: Threads of the network's runtime.
        max_batch: The most images that one message may hold.
    """
    return server.serve(bundle, host, port, threads, max_batch, runtime)
