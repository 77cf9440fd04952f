"""What the Paddle Lite runtime sets and what it refuses, with the real wheel and with a build that has more."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest

from ppsplit.bundle import Bundle, TensorSpec
from ppsplit.edge.head import Head
from ppsplit.errors import ConfigError, InferenceRuntimeError
from ppsplit.runtime import lite as ours
from ppsplit.runtime import load_program, native_target
from ppsplit.runtime.lite import LiteRuntime
from ppsplit.runtime.specs import check_tensors, specs_of

SPECS = {"image": TensorSpec("image", (-1, 3, 32, 48), "float32")}


@pytest.fixture
def nb(nb_files: Dict[str, Path]) -> Path:
    return nb_files[native_target()]


class Board:
    """A Paddle Lite as boards build it: with threads and power modes, without the optimizer."""

    PowerMode = types.SimpleNamespace(LITE_POWER_HIGH="big cores", LITE_POWER_NO_BIND="any core")

    def __init__(self) -> None:
        self.calls: List[Any] = []

    def MobileConfig(self) -> Any:  # noqa: N802
        names = ("set_model_from_file", "set_threads", "set_power_mode")
        return types.SimpleNamespace(**{n: lambda value, n=n: self.calls.append((n, value)) for n in names})

    def create_paddle_predictor(self, config: Any) -> Any:
        return types.SimpleNamespace(get_input_names=lambda: ["image"], get_output_names=lambda: ["out"])


def test_the_x86_wheel_uses_one_thread_and_has_no_power_modes(nb: Path) -> None:
    assert LiteRuntime(nb, threads=4).threads == 1
    with pytest.raises(InferenceRuntimeError, match="has no power modes.*'high' was asked for"):
        LiteRuntime(nb, power_mode="high")
    with pytest.raises(ConfigError, match="power mode 'turbo' is unknown"):
        LiteRuntime(nb, power_mode="turbo")


def test_a_build_for_boards_gets_both(nb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board()
    monkeypatch.setattr(ours, "_import_lite", lambda: board)
    assert LiteRuntime(nb, threads=4, power_mode="no-bind").threads == 4
    assert board.calls[1:] == [("set_threads", 4), ("set_power_mode", "any core")]


def test_a_nb_for_another_cpu_is_refused(nb_files: Dict[str, Path]) -> None:
    other = "arm" if native_target() == "x86" else "x86"
    with pytest.raises(InferenceRuntimeError, match=f"made for {other}"):
        LiteRuntime(nb_files[other])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((1, 3, 32, 48), np.float64), "is float64"),  # Paddle Lite would compute on
        (np.zeros((1, 4, 32, 48), np.float32), r"\[1, 4, 32, 48\], the manifest says float32 \[-1, 3"),
        (np.zeros((3, 32, 48), np.float32), r"\[3, 32, 48\]"),
        (np.zeros((1, 3, 32, 48), np.float16), "is float16"),  # and here end the process
    ],
    ids=["type", "channels", "rank", "half"],
)
def test_inputs_are_held_against_the_manifest(nb: Path, image: np.ndarray, message: str) -> None:
    with pytest.raises(InferenceRuntimeError, match=message):
        LiteRuntime(nb, specs=SPECS).run({"image": image})


def test_without_a_manifest_a_type_that_would_end_the_process_is_refused(nb: Path) -> None:
    with pytest.raises(InferenceRuntimeError, match="takes no float16"):
        LiteRuntime(nb).run({"image": np.zeros((1, 3, 32, 48), np.float16)})


def test_names_and_outputs_are_held_against_the_manifest(nb: Path) -> None:
    with pytest.raises(InferenceRuntimeError, match=r"input has \['image'\], the manifest knows \['picture'\]"):
        LiteRuntime(nb, specs={"picture": SPECS["image"]})
    runtime = LiteRuntime(nb, specs={**SPECS, "coarse": TensorSpec("coarse", (-1, 4, 16, 24), "float32")})
    feeds = {"image": np.zeros((2, 3, 32, 48), np.float32)}
    coarse, fine = runtime.output_names
    assert len(runtime.named(["coarse", fine]).run(feeds)) == 2
    with pytest.raises(InferenceRuntimeError, match="the output 'coarse'"):
        runtime.named([coarse, "coarse"]).run(feeds)


def test_a_bundle_brings_its_own_specs(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    assert specs_of(bundle)[bundle.manifest.input.name] == bundle.manifest.input
    head = load_program(bundle, bundle.program(bundle.cut("stem"), "head", "lite", target="x86"))
    with pytest.raises(InferenceRuntimeError, match="the manifest says float32"):
        head.run({bundle.manifest.input.name: np.zeros((1, 3, 8, 8), np.float32)})


def test_a_spec_that_is_not_there_checks_nothing() -> None:
    check_tensors("the input", {}, {})
    check_tensors("the input", {"other": np.zeros(3)}, SPECS)


def test_power_modes_are_for_paddle_lite_only(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    with pytest.raises(ConfigError, match="the runtime is paddle; leave --power-mode out"):
        Head(bundle, bundle.cut("stem"), "paddle", power_mode="high")
    with pytest.raises(InferenceRuntimeError, match="has no power modes"):
        Head(bundle, bundle.cut("stem"), "lite", target="x86", power_mode="high")
