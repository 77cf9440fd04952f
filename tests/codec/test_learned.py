"""The learned codec: round trips within a step, quality and target in every frame, and no hostile bytes pass."""

from __future__ import annotations

from typing import Dict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ppsplit.bundle import TensorSpec
from ppsplit.codec import EncodedTensor
from ppsplit.codec.importance import LARGEST_WORTH
from ppsplit.codec.learned import TRADE, VERSION, LearnedCodec
from ppsplit.codec.leb128 import leb128
from ppsplit.codec.tables import scale_of
from ppsplit.errors import CodecError
from tests.codec.integer_tables import tables_for

SPECS = (
    TensorSpec("deep", (-1, 5, 4, 6), "float32"),
    TensorSpec("skip", (-1, 1, 8, 12), "float32"),
    TensorSpec("row", (-1, 7), "float32"),
    TensorSpec("shape", (2,), "int64"),
)
TABLES = tables_for({"deep": 5, "skip": 1})
# error^2 * worth <= 0.5^2 * worth + trade * bits: the most that choosing may add to rounding, with 24 bits saved
MOST_STEPS = (0.25 + TRADE / 65_536 * 24 / LARGEST_WORTH) ** 0.5
GOLDEN = "02320b04f6068e037a93f60487ff"


def features(batch: int = 2, scale: float = 3.0) -> Dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    sizes = {spec.name: (batch, *spec.shape[1:]) for spec in SPECS[:3]}
    found = {name: rng.standard_normal(size).astype(np.float32) * scale for name, size in sizes.items()}
    return {**found, "shape": np.array([2**40, -1])}


def codec(quality: int = 50, **options: int) -> LearnedCodec:
    return LearnedCodec(SPECS, TABLES, quality, **options)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("quality", [1, 25, 50, 51, 88, 100])
def test_round_trip_within_what_a_bit_may_cost(quality: int, batch: int) -> None:
    """A far integer must save enough bits: at LARGEST_WORTH no more than MOST_STEPS of error pay."""
    sent = features(batch)
    got = codec().decode(codec(quality).encode(sent))  # the decoder reads the quality that was used
    assert list(got) == [spec.name for spec in SPECS]
    for name in ("deep", "skip"):
        assert np.abs(got[name] - sent[name]).max() <= MOST_STEPS * 0.5 / scale_of(quality) * 1.001
        assert (got[name].dtype, got[name].shape) == (np.float32, sent[name].shape)
        got[name][...] = 0  # the caller's own
    for name in ("row", "shape"):
        np.testing.assert_array_equal(got[name], sent[name])


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=4, max_dims=4, max_side=6),
        elements=st.one_of(st.just(0.0), st.floats(-100, 100, width=32)),
    ),
    st.integers(1, 100),
)
def test_any_shape_and_range(tensor: np.ndarray, quality: int) -> None:
    spec = TensorSpec("t", (-1, *tensor.shape[1:]), "float32")
    learned = LearnedCodec([spec], tables_for({"t": tensor.shape[1]}), quality)
    got = learned.decode(learned.encode({"t": tensor}))["t"]
    assert np.abs(got - tensor).max() <= MOST_STEPS * 0.5 / scale_of(quality) * 1.01 + 1e-4


def test_values_beyond_all_range_saturate() -> None:
    sent = features(1)
    sent["skip"][0, 0, 0, 0], sent["skip"][0, 0, 0, 1] = 1e30, -1e30
    got = codec().decode(codec().encode(sent))["skip"]
    assert got[0, 0, 0, :2].tolist() == [32767 * 0.5, -32767 * 0.5]
    sent["skip"][0, 0, 0, 0] = 3e38
    with pytest.raises(CodecError, match="too large"):
        codec().encode(sent)


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_encoded(strange: float) -> None:
    sent = features()
    sent["deep"][1, 2, 3, 4] = strange
    with pytest.raises(CodecError, match="NaN or infinite"):
        codec().encode(sent)


def test_better_quality_costs_more_bytes() -> None:
    sizes = [sum(len(t.data) for t in codec(quality).encode(features())) for quality in (10, 30, 50, 70, 90)]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("target", [180, 220, 260, 300])
def test_target_bytes_are_kept_at_the_best_quality_that_does(target: int) -> None:
    sent = features(batch=2)
    encoded = codec(target_bytes=target).encode(sent)
    assert sum(len(tensor.data) for tensor in encoded) <= 2 * target
    quality = encoded[0].data[1]
    assert quality == encoded[1].data[1]
    assert sum(len(tensor.data) for tensor in codec(quality + 1).encode(sent)) > 2 * target


def test_a_target_that_cannot_be_met_gives_the_least() -> None:
    assert codec(target_bytes=1).encode(features()) == codec(1).encode(features())


def test_golden_bytes_both_ways() -> None:
    spec = TensorSpec("t", (-1, 1, 2, 3), "float32")
    learned = LearnedCodec([spec], tables_for({"t": 1}), 50)
    tensor = np.array([[[[0, 0.5, -0.5], [1, 450, 0]]]], np.float32)
    (encoded,) = learned.encode({"t": tensor})
    assert encoded.data.hex() == GOLDEN
    np.testing.assert_array_equal(learned.decode([encoded])["t"], tensor)


@pytest.mark.parametrize("quality", [0, 101, -1, 50.0, True])
def test_no_quality(quality: int) -> None:
    with pytest.raises(CodecError, match="quality"):
        codec(quality)


def test_tables_that_do_not_fit_the_cut() -> None:
    for tables in (tables_for({"deep": 4}), tables_for({"other": 5}), tables_for({"row": 7}), tables_for({"shape": 2})):
        with pytest.raises(CodecError, match="do not fit"):
            LearnedCodec(SPECS, tables, 50)


def test_other_names_shapes_and_batches_are_refused() -> None:
    sent = features()
    for name, change in (
        ("deep", sent["deep"][:1]),
        ("deep", sent["deep"][:, :4]),
        ("deep", sent["deep"].astype(np.float64)),
    ):
        with pytest.raises(CodecError):
            codec().encode({**sent, name: change})
    encoded = codec().encode(sent)
    wrong = [
        encoded[1:],
        [encoded[0], *encoded],
        [encoded[0]._replace(shape=(2**31 - 1, 5, 4, 6)), *encoded[1:]],
        [encoded[0]._replace(shape=(2, 5, 2**31 - 1, 2**31 - 1)), *encoded[1:]],
        [tensor._replace(shape=(1, *tensor.shape[1:])) if len(tensor.shape) > 1 else tensor for tensor in encoded],
    ]
    for tensors in wrong:
        with pytest.raises(CodecError):
            codec().decode(tensors)


def _hostile(data: bytes) -> EncodedTensor:
    return EncodedTensor("t", (1, 3, 4, 5), "float32", data)


SMALL = LearnedCodec([TensorSpec("t", (-1, 3, 4, 5), "float32")], tables_for({"t": 3}), 50)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=100), st.booleans())
def test_any_bytes_give_finite_values_or_a_codec_error(data: bytes, framed: bool) -> None:
    data = bytes([VERSION, 50]) + leb128(len(data)) + data if framed else data
    try:
        values = SMALL.decode([_hostile(data)])["t"]
    except CodecError:
        return
    assert np.isfinite(values).all()


def test_truncated_longer_and_relabelled_data_is_refused() -> None:
    tensor = np.random.default_rng(1).standard_normal((1, 3, 4, 5)).astype(np.float32) * 20
    (encoded,) = SMALL.encode({"t": tensor})
    wrong = [encoded.data[:size] for size in range(len(encoded.data))]
    wrong += [encoded.data + b"\0", b"\x01" + encoded.data[1:], b"\x02\x00" + encoded.data[2:], b"\x02\x65"]
    wrong += [b"\x02\x32\xff\xff\xff\xff\xff\xff", b"\x02\x32\xff\xff\xff\xff\x0f"]
    for data in wrong:
        with pytest.raises(CodecError):
            SMALL.decode([_hostile(data)])
