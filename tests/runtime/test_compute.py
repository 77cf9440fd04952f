"""bfloat16 and GPUs: the right result where there are any, a clear refusal where there are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest

from ppsplit.bundle import HEAD, TAIL, Bundle
from ppsplit.cloud.programs import EngineOptions
from ppsplit.errors import ConfigError, InferenceRuntimeError
from ppsplit.runtime import run_part
from ppsplit.runtime.choice import load_part
from ppsplit.runtime.compute import BF16, BF16_FLAGS, GPU, Compute, check_bf16_here, cpu_flags

HAS_BF16 = bool(cpu_flags().intersection(BF16_FLAGS))
CPUINFO = "processor\t: 0\nmodel name\t: some\nflags\t\t: fpu sse2 avx512_bf16 amx_tile\nbugs\t\t: amx_bf16\n"


def outputs(bundle: Bundle, compute: Compute) -> Dict[str, np.ndarray]:
    cut = bundle.cut("stem")  # oneDNN leaves a lonely convolution in fp32; behind this cut there are two
    generator = np.random.default_rng(3)
    feeds = {spec.name: generator.normal(size=(2, *spec.shape[1:])).astype(spec.dtype) for spec in cut.tensors}
    tail = load_part(bundle, cut, TAIL, "paddle", compute=compute)
    return run_part(tail, feeds, [spec.name for spec in bundle.manifest.outputs])


@pytest.mark.skipif(not HAS_BF16, reason="this processor has no bfloat16")
def test_bfloat16_computes_in_bfloat16_and_nearly_the_same(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    exact, rounded = outputs(bundle, Compute()), outputs(bundle, Compute(BF16))
    for name, array in exact.items():
        assert rounded[name].dtype == np.float32
        error = np.abs(rounded[name] - array).max() / np.abs(array).max()
        assert 1e-5 < error < 2e-2  # three digits: not what fp32 gives, and near it


def test_it_is_refused_where_it_would_be_slower() -> None:
    with pytest.raises(ConfigError, match="slower than fp32"):
        check_bf16_here(frozenset({"avx2", "avx512f", "amx_tile"}))
    for flag in BF16_FLAGS:
        check_bf16_here(frozenset({"avx2", flag}))
    if not HAS_BF16:
        with pytest.raises(ConfigError, match="no bfloat16"):
            EngineOptions(compute=Compute(BF16))


def test_what_the_processor_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cpuinfo"
    assert cpu_flags(file) == frozenset()
    file.write_text(CPUINFO)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert cpu_flags(file) == {"fpu", "sse2", "avx512_bf16", "amx_tile"}
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert cpu_flags(file) == frozenset()


def test_no_gpu_is_said(tiny_bundle: Path) -> None:
    from ppsplit.paddle_first import paddle

    if paddle.is_compiled_with_cuda():
        pytest.skip("this Paddle has CUDA")
    with pytest.raises(InferenceRuntimeError, match="paddlepaddle-gpu"):
        outputs(Bundle.open(tiny_bundle), Compute(device=GPU))


@pytest.mark.parametrize("runtime", ["openvino", "lite"])
def test_other_runtimes_refuse(tiny_bundle: Path, runtime: str) -> None:
    bundle = Bundle.open(tiny_bundle)
    with pytest.raises(ConfigError, match="only the runtime paddle"):
        load_part(bundle, bundle.cut(), HEAD, runtime, compute=Compute(device=GPU))


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_server_says_so_at_once(runtime: str) -> None:
    with pytest.raises(ConfigError, match="only --runtime paddle"):
        EngineOptions(runtime=runtime, compute=Compute(device=GPU))


@pytest.mark.parametrize("wrong", [("fp64", "cpu"), ("fp32", "tpu"), ("bf16", "gpu")])
def test_senseless_wishes_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError):
        Compute(*wrong)
