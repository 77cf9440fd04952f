"""A predictor belongs to the first thread that runs it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest

from ppsplit.errors import ConfigError, InferenceRuntimeError
from ppsplit.runtime import Runtime, native_target
from ppsplit.runtime.lite import LiteRuntime
from ppsplit.runtime.paddle import PaddleRuntime
from ppsplit.runtime.threads import POWER_MODES, OneThread, check_power_mode, check_threads

FEEDS = {"image": np.zeros((1, 3, 32, 48), np.float32)}


def in_thread(name: str, work: Any) -> Any:
    with ThreadPoolExecutor(1, thread_name_prefix=name) as pool:
        return pool.submit(work).result()


def test_the_first_thread_may_come_back() -> None:
    only = OneThread("head.nb")
    only.check()
    only.check()


def test_the_error_names_both_threads() -> None:
    only = OneThread("head.nb")
    in_thread("first", only.check)
    with pytest.raises(InferenceRuntimeError, match="thread 'second_0' wants to run head.nb, which thread 'first_0'"):
        in_thread("second", only.check)


def test_one_of_many_threads_that_come_at_once_wins() -> None:
    only, start, refused = OneThread("head.nb"), threading.Barrier(8), []  # type: ignore[var-annotated]

    def work() -> None:
        start.wait()
        try:
            only.check()
        except InferenceRuntimeError as error:
            refused.append(error)

    threads: List[threading.Thread] = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 7


@pytest.fixture(params=["lite", "paddle"])
def runtime(request: pytest.FixtureRequest, nb_files: Dict[str, Path]) -> Runtime:
    if request.param == "lite":
        return LiteRuntime(nb_files[native_target()])
    folder = nb_files["x86"].parent
    return PaddleRuntime(folder / "model.pdmodel", folder / "model.pdiparams")


def test_loaded_here_and_run_there_is_one_thread(runtime: Runtime) -> None:
    assert in_thread("worker", lambda: runtime.run(FEEDS))


def test_a_second_thread_is_refused(runtime: Runtime) -> None:
    runtime.run(FEEDS)
    with pytest.raises(InferenceRuntimeError, match="'worker_0' wants to run .*'MainThread'"):
        in_thread("worker", lambda: runtime.run(FEEDS))
    assert runtime.run(FEEDS)


def test_numbers_of_threads_and_power_modes() -> None:
    check_threads(1)
    check_power_mode(None)
    for mode in POWER_MODES:
        check_power_mode(mode)
    with pytest.raises(ConfigError, match="at least 1"):
        check_threads(0)
    with pytest.raises(ConfigError, match="choose from high, low"):
        check_power_mode("turbo")
