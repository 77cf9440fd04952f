"""A real network in batches: what comes out is what comes out of each request alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Iterator, List

import numpy as np
import pytest

from ppsplit.bundle import Bundle
from ppsplit.cloud.engine import Engine
from ppsplit.cloud.programs import EngineOptions
from ppsplit.cloud.refusal import RefusedError
from ppsplit.codec import FeatureCodec
from ppsplit.wire import FeatureMessage, Options, WireTensor
from tests.cloud.requests import features_message, picture

ALL = Options(score_threshold=0.001)


def random_message(bundle: Bundle, seed: int, batch: int = 1) -> FeatureMessage:
    cut = bundle.cut()
    generator = np.random.default_rng(seed)
    tensors = {s.name: generator.normal(size=(batch, *s.shape[1:])).astype(s.dtype) for s in cut.tensors}
    wired = tuple(WireTensor(*tensor) for tensor in FeatureCodec(cut.tensors, "fp32", {}).encode(tensors))
    return FeatureMessage(bundle.manifest.fingerprint, cut.name, "fp32", wired, ALL)


class Gate:
    """Holds up the engine's programs, so that requests gather."""

    def __init__(self, engine: Engine) -> None:
        self.batches: List[int] = []
        self.open = threading.Event()
        self._run = engine._programs[0].run
        engine._programs[0].run = self  # type: ignore[method-assign, assignment]

    def __call__(self, part: str, cut: str, feeds: Any) -> Any:
        assert self.open.wait(20)
        self.batches.append(len(next(iter(feeds.values()))))
        return self._run(part, cut, feeds)


@pytest.fixture
def engine(tiny_bundle: Path) -> Iterator[Engine]:
    made = Engine(Bundle.open(tiny_bundle), EngineOptions(max_batch=4))
    made.warm_up()
    yield made
    made.close()


def together(engine: Engine, gate: Gate, asks: List[Any]) -> List[Any]:
    """What each ask returns or raises, all of them waiting before the first runs."""

    def answer(ask: Any) -> Any:
        try:
            return ask()
        except RefusedError as error:
            return error

    with ThreadPoolExecutor(len(asks)) as pool:
        futures = [pool.submit(answer, ask) for ask in asks]
        while engine._batcher.waiting + bool(engine._batcher.running) < len(asks) - 3:
            threading.Event().wait(0.005)
        gate.open.set()
        return [future.result(60) for future in futures]


def test_batches_find_what_single_requests_find(engine: Engine) -> None:
    messages = [random_message(engine.bundle, seed, 1 + seed % 2) for seed in range(12)]
    single = [engine.infer(message).detections for message in messages]
    gate = Gate(engine)
    results = together(engine, gate, [lambda m=message: engine.infer(m) for message in messages])
    assert max(gate.batches) == 4
    assert sum(gate.batches) == sum(len(message_found or ()) for message_found in single) == 18
    for result, alone in zip(results, single):
        assert [len(found) for found in result.detections] == [len(found) for found in alone or ()]
        for found, wanted in zip(result.detections, alone or ()):
            np.testing.assert_array_equal(found.class_ids, wanted.class_ids)
            np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)
            np.testing.assert_allclose(found.boxes_xyxy, wanted.boxes_xyxy, atol=1e-3)
    assert sum(len(found) for alone in single for found in alone or ()) > 18


def test_workers_find_the_same(engine: Engine) -> None:
    messages = [random_message(engine.bundle, seed) for seed in range(12)]
    single = [engine.infer(message).detections for message in messages]
    several = Engine(engine.bundle, EngineOptions(max_batch=4, workers=2))
    several.warm_up()
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(several.infer, messages * 4))
    for result, alone in zip(results, single * 4):
        for found, wanted in zip(result.detections or (), alone or ()):
            np.testing.assert_array_equal(found.class_ids, wanted.class_ids)
            np.testing.assert_allclose(found.boxes_xyxy, wanted.boxes_xyxy, atol=1e-3)
    several.close()


def test_one_that_overflows_the_network_harms_nobody_else(engine: Engine, tiny_bundle: Path) -> None:
    good = random_message(engine.bundle, 1)
    wanted = engine.infer(good).detections
    bad = features_message(tiny_bundle, value=3e38)
    gate = Gate(engine)
    asks = [lambda m=message: engine.infer(m) for message in (good, good, bad, good, good, bad, good, good)]
    results = together(engine, gate, asks)
    assert max(gate.batches) > 1
    for place, result in enumerate(results):
        if place in (2, 5):
            assert (result.status, result.code) == (422, "bad_features")
            assert "overflow" in str(result)
        else:
            assert [f.to_records() for f in result.detections] == [f.to_records() for f in wanted or ()]


def test_features_and_pictures_are_not_mixed(engine: Engine) -> None:
    message, jpeg = random_message(engine.bundle, 3), picture()
    wanted = engine.infer(message).detections, engine.infer_image(jpeg, ALL).detections
    gate = Gate(engine)
    asks = [(lambda: engine.infer(message)) if n % 2 else (lambda: engine.infer_image(jpeg, ALL)) for n in range(8)]
    for place, result in enumerate(together(engine, gate, asks)):
        expected = wanted[0 if place % 2 else 1]
        assert [len(f) for f in result.detections] == [len(f) for f in expected or ()]
        assert result.cut == ("deep" if place % 2 else None)


def test_a_bundle_that_takes_one_image_at_a_time_is_run_so(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppsplit.cloud.engine.is_open", lambda *_: False)
    engine = Engine(Bundle.open(tiny_bundle), EngineOptions(max_batch=4))
    engine.warm_up()
    gate = Gate(engine)
    message = random_message(engine.bundle, 5)
    together(engine, gate, [lambda: engine.infer(message) for _ in range(6)])
    assert gate.batches == [1] * 6
    engine.close()
