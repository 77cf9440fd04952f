"""A Ray cluster to work on: one that runs already, or one of this process's own. Ray is imported when asked for."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import math
import os
import socket
from typing import Iterator, Optional

from ppsplit.cloud.rate import is_loopback
from ppsplit.errors import ConfigError

OBJECT_STORE_BYTES = 200 * 2**20  # arguments and results pass through it, features do not
CONNECT_TIMEOUT_S = 5.0
# Ray unpickles what comes to its ports. So those of our own cluster are on loopback (the variable's name is older than
# its use: whether other machines may join), and whoever asks there must show Ray's token, from ~/.ray.
# A proxy that needs more than 5 s to start, as on a busy machine, would be taken for dead and started afresh, for ever.
# Replicas would give way to all else that runs here: what Ray runs it takes for background work, of niceness 15.
OWN = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",
    "RAY_worker_niceness": "0",
}


def prepare_ray(address: Optional[str]) -> None:
    """Set what Ray reads from the environment when it is imported; to be called before that.

    Args:
        address: as for `cluster`.

    Raises:
        ConfigError: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise ConfigError("--ray needs the package ray, which is not here; run `make ray`, or install ppsplit[ray]")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # else Ray tells its makers what runs here
    if address is None or is_loopback(address.rpartition(":")[0]):
        os.environ.update(OWN)


@contextlib.contextmanager
def cluster(address: Optional[str], cpus: float) -> Iterator[None]:
    """Be connected to a cluster while the block runs, after `prepare_ray`.

    Args:
        address: of a cluster that runs, "auto" for the one that this machine belongs to; None starts one on this
            machine alone, which other machines cannot reach and which ends with the block. "auto" does not find it.
        cpus: what a cluster of our own has to give out. Ray places by these numbers and holds nobody to them, so they
            may be more than there are cores.

    Raises:
        ConfigError: there is no cluster at the address.
    """
    import ray

    try:
        if address is not None:
            _check_reachable(address)
            ray.init(address=address, logging_level=logging.WARNING)
        else:
            ray.init(
                address="local",
                num_cpus=max(os.cpu_count() or 1, math.ceil(cpus)),
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                logging_level=logging.WARNING,
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"there is no Ray cluster at {address!r} that can be used ({error}); see `ray status`, start one with "
            "`ray start --head`, or leave the address out for one of this machine's own"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise OSError where nobody listens at HOST:PORT; Ray itself would try for more than a minute."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
