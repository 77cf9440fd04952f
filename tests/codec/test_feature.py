"""Features of a cut through each encoding, and every way in which they may not fit."""

from __future__ import annotations

import threading
from typing import Dict, List

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ppsplit.bundle import Clip, TensorSpec
from ppsplit.codec import EncodedTensor, FeatureCodec
from ppsplit.codec.compress import compress
from ppsplit.codec.feature import PLAIN_ENCODINGS
from ppsplit.errors import CodecError

SPECS = (
    TensorSpec("f", (-1, 3, 5, 1), "float32"),
    TensorSpec("shape", (2,), "int64"),
    TensorSpec("mask", (-1, 3), "bool"),
)
CLIPS = {"8": {"f": Clip(-1.0, 3.0)}, "4": {"f": Clip(-0.5, 2.0)}}
TOLERANCE = {"fp32": 0.0, "fp16": 2e-3, "uint8": 4 / 255 / 2 + 1e-6, "uint4": 2.5 / 15 / 2 + 1e-6}


def features(batch: int = 2) -> Dict[str, np.ndarray]:
    f = np.random.default_rng(0).uniform(-0.5, 2, (batch, 3, 5, 1)).astype(np.float32)
    return {"f": f, "shape": np.array([2**40, -1]), "mask": np.arange(3 * batch).reshape(batch, 3) % 2 == 0}


def codec(encoding: str = "uint8", **options: int) -> FeatureCodec:
    return FeatureCodec(SPECS, encoding, CLIPS, **options)


@pytest.mark.parametrize("encoding", PLAIN_ENCODINGS)
@pytest.mark.parametrize("batch", [1, 3])
def test_round_trip(encoding: str, batch: int) -> None:
    sent = features(batch)
    got = codec(encoding).decode(codec(encoding).encode(sent))
    assert list(got) == [spec.name for spec in SPECS]
    assert np.abs(got["f"] - sent["f"]).max() <= TOLERANCE[encoding]
    for name, tensor in sent.items():
        assert (got[name].dtype, got[name].shape) == (tensor.dtype, tensor.shape)
        got[name][...] = 0  # the caller's own
    np.testing.assert_array_equal(codec(encoding).decode(codec(encoding).encode(sent))["shape"], sent["shape"])


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=4, max_side=5), elements=st.floats(width=32)))
def test_fp32_keeps_every_bit(tensor: np.ndarray) -> None:
    spec = TensorSpec("t", (-1, *tensor.shape[1:]), "float32")
    exact = FeatureCodec([spec], "fp32", {})
    assert exact.decode(exact.encode({"t": tensor}))["t"].tobytes() == tensor.tobytes()


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40))
def test_uint4_of_any_count_is_half_a_byte_each(values: List[float]) -> None:
    spec = TensorSpec("t", (len(values),), "float32")
    small = FeatureCodec([spec], "uint4", {"4": {"t": Clip(0, 1)}})
    (encoded,) = small.encode({"t": np.array(values, np.float32)})
    assert len(encoded.data) <= 1 + (len(values) + 1) // 2
    assert np.abs(small.decode([encoded])["t"] - np.array(values, np.float32)).max() <= 1 / 30 + 1e-6


def test_fp16_saturates_and_keeps_what_is_not_finite() -> None:
    spec = TensorSpec("t", (5,), "float32")
    half = FeatureCodec([spec], "fp16", {})
    got = half.decode(half.encode({"t": np.array([1e6, -1e6, np.inf, -np.inf, np.nan], np.float32)}))["t"]
    np.testing.assert_array_equal(got, np.array([65504, -65504, np.inf, -np.inf, np.nan], np.float32))


@pytest.mark.parametrize("order", ["F", "strided"])
def test_memory_layout_does_not_matter(order: str) -> None:
    sent = features()
    f = np.asfortranarray(sent["f"]) if order == "F" else np.repeat(sent["f"], 2, axis=2)[:, :, ::2]
    for encoding in PLAIN_ENCODINGS:
        assert codec(encoding).encode({**sent, "f": f}) == codec(encoding).encode(sent)


@pytest.mark.parametrize("encoding", ["uint8", "uint4"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_is_not_sent_as_codes(encoding: str, value: float) -> None:
    sent = features()
    sent["f"][0, 0, 0, 0] = value
    with pytest.raises(CodecError, match="NaN"):
        codec(encoding).encode(sent)


@pytest.mark.parametrize(
    "change",
    [
        {"f": np.zeros((2, 3, 5), np.float32)},
        {"f": np.zeros((2, 3, 5, 2), np.float32)},
        {"f": np.zeros((2, 3, 5, 1), np.float64)},
        {"f": np.zeros((0, 3, 5, 1), np.float32)},
        {"f": np.zeros((1, 3, 5, 1), np.float32)},
        {"unknown": np.zeros(1, np.float32)},
    ],
)
def test_what_is_not_the_cut_is_not_encoded(change: Dict[str, np.ndarray]) -> None:
    with pytest.raises(CodecError):
        codec().encode({**features(), **change})
    with pytest.raises(CodecError, match="expected the tensors"):
        codec().encode({"f": features()["f"]})


def _changed(index: int, **fields: object) -> List[EncodedTensor]:
    encoded = codec().encode(features())
    encoded[index] = encoded[index]._replace(**fields)
    return encoded


HOSTILE = {
    "nothing": [],
    "one too few": codec().encode(features())[1:],
    "one twice": codec().encode(features())[:1] * 3,
    "one too many": [*codec().encode(features()), EncodedTensor("x", (1,), "float32", b"\0")],
    "another name": _changed(0, name="g"),
    "another rank": _changed(0, shape=(2, 3, 5)),
    "another size": _changed(0, shape=(2, 3, 5, 2)),
    "sizes swapped": _changed(0, shape=(2, 5, 3, 1)),
    "batch 0": _changed(0, shape=(0, 3, 5, 1)),
    "batch differs": _changed(2, shape=(3, 3)),
    "huge batch": _changed(0, shape=(2**31 - 1, 3, 5, 1)),
    "negative": _changed(0, shape=(-2, 3, 5, -1)),
    "another dtype": _changed(0, dtype="float64"),
    "object dtype": _changed(0, dtype="O"),
    "no data": _changed(0, data=b""),
    "too little data": _changed(0, data=b"\0" * 30),
    "too much data": _changed(0, data=b"\0" * 32),
    "a bomb": _changed(0, data=compress(bytes(1 << 24), 19)),
    "bool of 2": _changed(2, data=b"\0" + b"\2" * 6),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_tensors_are_refused(case: str) -> None:
    with pytest.raises(CodecError):
        codec().decode(HOSTILE[case])


def test_batch_is_bounded() -> None:
    encoded = codec().encode(features(5))
    assert codec(max_batch=5).decode(encoded)["f"].shape[0] == 5
    with pytest.raises(CodecError, match="1 to 4"):
        codec(max_batch=4).decode(encoded)


@pytest.mark.parametrize(
    ("specs", "encoding", "clips", "level", "message"),
    [
        (SPECS, "uint2", CLIPS, 3, "unknown encoding"),
        (SPECS, "uint8", {"4": CLIPS["4"]}, 3, "no 8-bit range for tensor 'f'"),
        (SPECS, "uint8", {"8": {}}, 3, "no 8-bit range"),
        (SPECS, "uint8", {"8": {"f": Clip(2, 1)}}, 3, "clip range"),
        (SPECS, "fp32", {}, 0, "level"),
        ([TensorSpec("s", (1,), "complex64")], "fp32", {}, 3, "complex64"),
    ],
)
def test_a_codec_that_cannot_work_is_not_made(specs, encoding, clips, level, message) -> None:
    with pytest.raises(CodecError, match=message):
        FeatureCodec(specs, encoding, clips, level)


@settings(max_examples=300)
@given(st.data())
def test_any_bytes_in_place_of_data_give_tensors_or_a_codec_error(data) -> None:
    index = data.draw(st.integers(0, 2))
    encoded = _changed(index, data=data.draw(st.binary(max_size=60)))
    try:
        codec().decode(encoded)
    except CodecError:
        pass


def test_threads_may_share_a_codec() -> None:
    shared, sent, failures = codec(), features(4), []
    expected = shared.encode(sent)

    def work() -> None:
        for _ in range(50):
            if shared.encode(sent) != expected or not (shared.decode(expected)["mask"] == sent["mask"]).all():
                failures.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
