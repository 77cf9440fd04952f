"""Every runtime on the same halves: the same features, the same errors."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ppsplit.bundle import FULL, HEAD, TAIL, Bundle
from ppsplit.errors import BundleError, ConfigError, InferenceRuntimeError
from ppsplit.runtime import Tensors, run_part
from ppsplit.runtime.choice import RUNTIMES, WHOLE, load_part

BATCH = np.random.default_rng(5).random((2, 3, 32, 48), np.float32)
ADDED = ("onnx", "openvino")


@pytest.fixture(scope="module")
def bundle(onnx_bundle: Path) -> Bundle:
    return Bundle.open(onnx_bundle)


@pytest.fixture(params=ADDED)
def runtime(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(RUNTIMES[request.param].framework, reason=f"{request.param} is not installed")
    return str(request.param)


def close(found: Tensors, expected: Tensors) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert np.abs(found[name] - values).max() <= 1e-5 * np.abs(values).max()


@pytest.mark.parametrize("cut_name", ["deep", "stem", "output"])
def test_both_halves_compute_what_paddles_do(bundle: Bundle, runtime: str, cut_name: str) -> None:
    cut, image = bundle.cut(cut_name), {bundle.manifest.input.name: BATCH}
    sent, outputs = [spec.name for spec in cut.tensors], [spec.name for spec in bundle.manifest.outputs]
    features = run_part(load_part(bundle, cut, HEAD, "paddle", "fp32"), image, sent)
    close(run_part(load_part(bundle, cut, HEAD, runtime, "fp32", threads=2), image, sent), features)
    expected = run_part(load_part(bundle, cut, TAIL, "paddle"), features, outputs)
    close(run_part(load_part(bundle, cut, TAIL, runtime), features, outputs), expected)
    close(run_part(load_part(bundle, cut, FULL, runtime), image, outputs), expected)


def test_what_is_returned_belongs_to_the_caller(bundle: Bundle, runtime: str) -> None:
    head = load_part(bundle, bundle.cut(), HEAD, runtime, "fp32")
    first = head.run({"image": BATCH})
    kept = {name: values.copy() for name, values in first.items()}
    head.run({"image": 1 - BATCH})
    close(first, kept)


def test_it_takes_its_inputs_and_no_others(bundle: Bundle, runtime: str) -> None:
    head = load_part(bundle, bundle.cut(), HEAD, runtime, "fp32")
    with pytest.raises(InferenceRuntimeError, match="the program takes"):
        head.run({"photo": BATCH})
    with pytest.raises(InferenceRuntimeError, match="refused the input"):
        head.run({"image": BATCH[:, :2]})
    with pytest.raises(InferenceRuntimeError, match="refused the input"):
        head.run({"image": BATCH.astype(np.float64)})
    assert head.run({"image": BATCH})


def test_a_second_thread_is_refused(bundle: Bundle, runtime: str) -> None:
    head = load_part(bundle, bundle.cut(), HEAD, runtime, "fp32")
    head.run({"image": BATCH})
    with ThreadPoolExecutor(1, thread_name_prefix="worker") as pool:
        with pytest.raises(InferenceRuntimeError, match="'worker_0' wants to run head"):
            pool.submit(head.run, {"image": BATCH}).result()


def test_a_damaged_file_is_an_error_of_ours(bundle: Bundle, runtime: str, tmp_path: Path) -> None:
    from ppsplit.runtime.onnx import OnnxRuntime
    from ppsplit.runtime.openvino import OpenVinoRuntime

    path = tmp_path / ("model.onnx" if runtime == "onnx" else "model.pdmodel")
    path.write_bytes(b"no model")
    with pytest.raises(InferenceRuntimeError, match=str(path)):
        OnnxRuntime(path) if runtime == "onnx" else OpenVinoRuntime(path)


@pytest.mark.parametrize("name", ADDED)
def test_one_that_is_not_installed_is_one_sentence(bundle: Bundle, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, RUNTIMES[name].framework, None)  # its import fails
    for fails in (lambda: load_part(bundle, bundle.cut(), HEAD, name, "fp32"), RUNTIMES[name].ensure):
        with pytest.raises(InferenceRuntimeError, match=f"{name}.*; install .*another --runtime"):
            fails()


def test_what_is_not_in_the_bundle_is_named(bundle: Bundle, tiny_bundle: Path) -> None:
    plain = Bundle.open(tiny_bundle)
    with pytest.raises(BundleError, match=r"no head for onnx/fp32 .* it has: paddle/any/fp32, lite/x86/fp32"):
        load_part(plain, plain.cut(), HEAD, "onnx")
    with pytest.raises(ConfigError, match="choose from lite, paddle, onnx, openvino"):
        load_part(bundle, bundle.cut(), HEAD, "tensorrt")
    assert set(WHOLE) < set(RUNTIMES)


def test_openvino_refuses_packed_weights(tmp_path: Path) -> None:
    from tests.tiny_bundle import export_tiny

    mixed = Bundle.open(export_tiny("raw", tmp_path / "mixed", ("mixed",), ("stem",)))
    with pytest.raises(InferenceRuntimeError, match="no packed weights"):
        load_part(mixed, mixed.cut(), HEAD, "openvino")
