"""The engine against the whole network, and what it refuses."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest

from ppsplit.bundle import FULL, TAIL, Bundle, Cut
from ppsplit.cloud import engine as engine_module
from ppsplit.cloud import programs as programs_module
from ppsplit.cloud.engine import Engine
from ppsplit.cloud.programs import EngineOptions
from ppsplit.cloud.refusal import RefusedError
from ppsplit.codec import FeatureCodec
from ppsplit.decode import build_decoder
from ppsplit.errors import ConfigError, ImageError, InferenceRuntimeError
from ppsplit.image import decode_image, normalise
from ppsplit.runtime import load_program, run_part
from ppsplit.wire import FeatureMessage, Options, WireTensor
from tests.cloud.requests import NO_OPTIONS, features_message, picture
from tests.tiny_bundle import INPUT_HW


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle)


@pytest.fixture(scope="module")
def engine(bundle: Bundle) -> Engine:
    return Engine(bundle, EngineOptions(max_batch=4))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 1, (3, 3, *INPUT_HW)).astype(np.float32)


def split_message(bundle: Bundle, cut_name: str, images: np.ndarray, options: Options = NO_OPTIONS) -> FeatureMessage:
    cut = bundle.cut(cut_name)
    head = load_program(bundle, bundle.program(cut, "head", "paddle"))
    features = run_part(head, {bundle.manifest.input.name: images}, [spec.name for spec in cut.tensors])
    tensors = tuple(WireTensor(*t) for t in FeatureCodec(cut.tensors, "fp32", {}).encode(features))
    return FeatureMessage(bundle.manifest.fingerprint, cut_name, "fp32", tensors, options)


@pytest.mark.parametrize("cut", ["deep", "stem", "output"])
def test_features_give_what_the_whole_network_gives(bundle: Bundle, engine: Engine, images, cut: str) -> None:
    result = engine.infer(split_message(bundle, cut, images))
    full = load_program(bundle, bundle.program(bundle.cut(), FULL, "paddle"))
    outputs = run_part(full, {bundle.manifest.input.name: images}, [spec.name for spec in bundle.manifest.outputs])
    expected = build_decoder(bundle.manifest.decode, INPUT_HW)(outputs)
    assert result.detections is not None
    assert [len(found) for found in result.detections] == [len(found) for found in expected]
    assert sum(map(len, expected)) > 0
    for found, wanted in zip(result.detections, expected):
        np.testing.assert_array_equal(found.class_ids, wanted.class_ids)
        np.testing.assert_allclose(found.boxes_xyxy, wanted.boxes_xyxy, atol=1e-3)
    assert set(result.times_ms) == {"decode_features", "queue", "tail", "decode"}


def test_options_reach_the_decoder(bundle: Bundle, engine: Engine, images) -> None:
    many = engine.infer(split_message(bundle, "deep", images, Options(score_threshold=0.01))).detections
    one = engine.infer(
        split_message(bundle, "deep", images, Options(score_threshold=0.01, max_detections=1))
    ).detections
    assert many is not None and one is not None
    assert [len(found) for found in one] == [1, 1, 1] < [len(found) for found in many]


def test_a_picture_gives_what_the_whole_network_gives(bundle: Bundle, engine: Engine) -> None:
    jpeg = picture()
    inputs = normalise(decode_image(jpeg), bundle.manifest.preprocess)
    full = load_program(bundle, bundle.program(bundle.cut(), FULL, "paddle"))
    outputs = run_part(full, {bundle.manifest.input.name: inputs}, [spec.name for spec in bundle.manifest.outputs])
    expected = build_decoder(bundle.manifest.decode, INPUT_HW)(outputs)[0]
    result = engine.infer_image(jpeg, Options())
    assert result.cut is None
    assert result.detections is not None
    np.testing.assert_allclose(result.detections[0].boxes_xyxy, expected.boxes_xyxy, atol=1e-3)


def test_family_raw_gives_tensors(raw_bundle: Path) -> None:
    raw = Engine(Bundle.open(raw_bundle))
    result = raw.infer(features_message(raw_bundle, batch=2))
    assert result.detections is None
    assert result.outputs is not None
    assert [t.shape[0] for t in result.outputs.values()] == [2]


def test_nothing_is_loaded_before_the_warm_up_which_loads_all(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: List[str] = []
    real = programs_module.load_part

    def load(bundle: Bundle, cut: Cut, part: str, *arguments: Any, **options: Any) -> Any:
        loaded.append(f"{part} {cut.name}" if part == TAIL else part)
        return real(bundle, cut, part, *arguments, **options)

    monkeypatch.setattr(programs_module, "load_part", load)
    lazy = Engine(bundle)
    assert not loaded
    assert not lazy.ready
    lazy.warm_up()
    assert lazy.ready
    lazy.warm_up()
    assert loaded == ["tail deep", "tail stem", "tail output", "full"]


def test_a_predictor_is_never_used_by_two_threads_at_once(bundle: Bundle, tiny_bundle: Path, monkeypatch) -> None:
    shared, inside, overlaps = Engine(bundle), threading.Lock(), []
    real = programs_module.run_part

    def run_alone(*arguments):
        if not inside.acquire(blocking=False):
            overlaps.append(1)
            return real(*arguments)
        try:
            return real(*arguments)
        finally:
            inside.release()

    monkeypatch.setattr(programs_module, "run_part", run_alone)
    message, results = features_message(tiny_bundle), []
    threads = [
        threading.Thread(target=lambda: [results.append(shared.infer(message)) for _ in range(10)]) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not overlaps
    assert len({str([d.to_records() for d in result.detections]) for result in results}) == 1 < len(results) == 60


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [({"bundle": "0" * 64}, 409, "wrong_bundle"), ({"cut": "nowhere"}, 404, "unknown_cut")],
)
def test_refusals(engine: Engine, tiny_bundle: Path, changes, status: int, code: str) -> None:
    with pytest.raises(RefusedError) as caught:
        engine.infer(dataclasses.replace(features_message(tiny_bundle), **changes))
    assert (caught.value.status, caught.value.code) == (status, code)


def test_a_batch_above_the_limit_is_refused(engine: Engine, tiny_bundle: Path) -> None:
    with pytest.raises(RefusedError, match="5 pictures, the server takes at most 4 .*--batch-size 4"):
        engine.infer(features_message(tiny_bundle, batch=5))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_the_senders_fault(engine: Engine, tiny_bundle: Path, value: float) -> None:
    with pytest.raises(RefusedError, match="features hold NaN"):
        engine.infer(features_message(tiny_bundle, value=value))


def test_features_that_overflow_the_network_are_the_senders_fault(engine: Engine, tiny_bundle: Path) -> None:
    with pytest.raises(RefusedError, match="overflow the network") as caught:
        engine.infer(features_message(tiny_bundle, value=3e38))
    assert (caught.value.status, caught.value.code) == (422, "bad_features")


def test_outputs_of_a_picture_that_are_not_finite_are_ours(engine: Engine, monkeypatch) -> None:
    monkeypatch.setattr(engine._programs[0], "run", lambda *_: {"out": np.array([np.nan])})
    with pytest.raises(InferenceRuntimeError, match="not finite"):
        engine.infer_image(picture(), Options())


def test_a_picture_of_another_size_is_refused_before_it_is_decoded(engine: Engine, monkeypatch) -> None:
    monkeypatch.setattr(engine_module, "decode_image", lambda *_: pytest.fail("decoded"))
    with pytest.raises(RefusedError, match="expected 32x48"):
        engine.infer_image(picture(64, 64), Options())


def test_no_threads_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="threads is 0"):
        EngineOptions(threads=0)


def test_pictures_that_do_not_fit_are_refused(engine: Engine) -> None:
    for wrong in (picture(31, 48), picture(48, 32)):
        with pytest.raises(RefusedError, match="expected 32x48"):
            engine.infer_image(wrong, Options())
    for damaged in (b"", b"\x89PNG", picture()[:20], picture()[:2] + b"\xff\xc0\x00\x11\x08\x00\x20\x00\x30"):
        with pytest.raises((ImageError, RefusedError)):
            engine.infer_image(damaged, Options())


def test_the_largest_message_fits_the_limit_and_little_more_does(engine: Engine, tiny_bundle: Path) -> None:
    cuts = engine.bundle.manifest.cuts
    largest = max(sum(4 * spec.elements_per_image for spec in cut.tensors) for cut in cuts) * 4
    assert largest < engine.max_body_bytes < 2 * largest + 2**17
