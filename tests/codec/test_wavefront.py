"""The wavefront coder: exact both ways, the same bytes with and without its core, and no hostile bytes pass."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from typing import Tuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ppsplit.codec import compiled
from ppsplit.codec.entropy_model import TOTAL
from ppsplit.codec.leb128 import leb128
from ppsplit.codec.wavefront import LARGEST, decode_map, encode_components, encode_map, split_escapes
from ppsplit.errors import CodecError
from tests.codec.integer_model import integer_model, smooth_map

GOLDEN_MAP = np.array([[[0, 1, -1], [2, 900, 0]], [[0, 0, 0], [0, -1, 0]], [[1, 1, 1], [1, 1, -40]]], np.int32)
GOLDEN = "05f6068e03167a93f604a181230006bb420187ffc37be38b"
GOLDEN_SHA256 = "183ec0faba85bde2eb6df6bde350e8b4c6ec9965b4380fe85025fb94973ae475"
BOTH = [pytest.param(True, id="compiled"), pytest.param(False, id="numpy")]


@pytest.fixture(autouse=True)
def _core_is_there(request: pytest.FixtureRequest) -> None:
    if "compiled" in request.node.name and compiled.core() is None:
        pytest.skip("the compiled core was not built here; run `python setup.py build_ext --inplace`")


@pytest.mark.parametrize("use_compiled", BOTH)
def test_golden_bytes_both_ways(use_compiled: bool) -> None:
    model = integer_model(3)
    assert encode_map(GOLDEN_MAP, model, use_compiled).hex() == GOLDEN
    np.testing.assert_array_equal(decode_map(bytes.fromhex(GOLDEN), (3, 2, 3), model, use_compiled), GOLDEN_MAP)


@pytest.mark.parametrize("use_compiled", BOTH)
def test_golden_bytes_of_a_larger_map(use_compiled: bool) -> None:
    values = np.arange(40 * 13 * 17, dtype=np.int64).reshape(40, 13, 17)
    values = (values * values % 97 - 48) // (1 + np.arange(40)[:, None, None])
    data = encode_map(values, integer_model(40), use_compiled)
    assert hashlib.sha256(data).hexdigest() == GOLDEN_SHA256
    np.testing.assert_array_equal(decode_map(data, values.shape, integer_model(40), use_compiled), values)


@pytest.mark.parametrize("use_compiled", BOTH)
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1, 1, 9), (1, 9, 1), (17, 1, 1), (2, 3, 4), (1, 26, 26), (16, 5, 7), (33, 6, 2), (128, 2, 3)]
)
def test_shapes(shape: Tuple[int, int, int], use_compiled: bool) -> None:
    for values in (smooth_map(*shape), np.zeros(shape, np.int64), np.full(shape, -3, np.int16)):
        model = integer_model(shape[0])
        np.testing.assert_array_equal(decode_map(encode_map(values, model, use_compiled), shape, model), values)


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(
        np.int32,
        hnp.array_shapes(min_dims=3, max_dims=3, max_side=8),
        elements=st.one_of(st.integers(-2, 2), st.integers(-LARGEST, LARGEST)),
    )
)
def test_any_map_comes_back_and_both_ways_agree(values: np.ndarray) -> None:
    model = integer_model(len(values))
    data = encode_map(values, model, use_compiled=False)
    assert encode_map(values, model) == data
    for use_compiled in (True, False):
        np.testing.assert_array_equal(decode_map(data, values.shape, model, use_compiled), values)


COMPONENTS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=3, max_dims=3, max_side=7),
    elements=st.one_of(st.floats(-3, 3, width=32), st.floats(-1e9, 1e9, width=32)),
)


@settings(max_examples=150, deadline=None)
@given(COMPONENTS, st.integers(0, 20_000), st.integers(1, 2048))
def test_integers_are_chosen_alike_by_both(components: np.ndarray, trade: int, worth: int) -> None:
    model = integer_model(len(components))
    worths = np.full(components.shape[1:], worth, np.int32)
    worths.flat[0] = 256
    data, values = encode_components(components, worths, trade, model)
    again, same = encode_components(components, worths, trade, model, use_compiled=False)
    assert data == again == encode_map(values, model)
    np.testing.assert_array_equal(values, same)
    np.testing.assert_array_equal(decode_map(data, values.shape, model), values)


def test_a_bit_for_nothing_rounds_to_the_nearest() -> None:
    components = np.random.default_rng(0).standard_normal((5, 6, 7)).astype(np.float32) * 20
    _, values = encode_components(components, np.full((6, 7), 256, np.int32), 0, integer_model(5))
    assert np.abs(values - components).max() <= 0.5 + 1 / 256


def test_dear_bits_and_cheap_errors_give_larger_errors_in_fewer_bytes() -> None:
    components = np.random.default_rng(0).standard_normal((20, 13, 13)).astype(np.float32) * 8
    worths = (np.full((13, 13), worth, np.int32) for worth in (256, 256, 64))
    found = [encode_components(components, *wish, integer_model(20)) for wish in zip(worths, (0, 60_000, 60_000))]
    errors = [np.abs(values - components).mean() for _, values in found]
    assert errors[0] < errors[1] < errors[2]
    assert all(len(data) < 0.99 * len(found[0][0]) for data, _ in found[1:])


@pytest.mark.parametrize("shape", [(2, 3, 3), (3, 2, 3)])
def test_components_that_do_not_fit(shape: Tuple[int, int, int]) -> None:
    with pytest.raises(CodecError):
        encode_components(np.zeros(shape, np.float32), np.full((3, 3), 256, np.int32), 0, integer_model(3))


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((2, 3, 3), np.int32),
        np.zeros((3, 3), np.int32),
        np.zeros((3, 0, 3), np.int32),
        np.zeros((3, 2, 2), np.float32),
        np.full((3, 2, 2), LARGEST + 1),
        np.full((3, 2, 2), -(2**31)),
    ],
)
def test_what_is_no_such_map_is_not_encoded(values: np.ndarray) -> None:
    with pytest.raises(CodecError):
        encode_map(values, integer_model(3))


@pytest.mark.parametrize("use_compiled", BOTH)
def test_truncated_and_longer_data_is_refused(use_compiled: bool) -> None:
    values = smooth_map(5, 6, 7, scale=40.0)
    model = integer_model(5)
    data = encode_map(values, model)
    for wrong in [data[:size] for size in range(len(data))] + [data + b"\0", data + b"\0\0", b"\0" + data]:
        with pytest.raises(CodecError):
            decode_map(wrong, values.shape, model, use_compiled)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_give_a_map_within_limits_or_a_codec_error(data: bytes, use_compiled: bool) -> None:
    try:
        values = decode_map(data, (3, 4, 5), integer_model(3), use_compiled)
    except CodecError:
        return
    assert np.abs(values).max() <= LARGEST


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_bytes_mean_the_same_to_both(data: st.DataObject) -> None:
    values = smooth_map(6, 5, 6, scale=30.0)
    model = integer_model(6)
    damaged = bytearray(encode_map(values, model))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    results = []
    for use_compiled in (True, False):
        try:
            results.append(decode_map(bytes(damaged), values.shape, model, use_compiled).tobytes())
        except CodecError:
            results.append(b"refused")
    assert results[0] == results[1]


@pytest.mark.parametrize("use_compiled", BOTH)
@pytest.mark.parametrize(
    "escapes",
    [b"\xff\xff\xff\xff\xff\xff", b"\x80", b"\x05\1", b"\xff\xff\xff\xff\x0f"],
    ids=["no end", "cut off", "longer than the data", "huge"],
)
def test_hostile_escape_sizes(escapes: bytes, use_compiled: bool) -> None:
    with pytest.raises(CodecError):
        decode_map(escapes, (3, 2, 2), integer_model(3), use_compiled)


@pytest.mark.parametrize("use_compiled", BOTH)
def test_an_escaped_number_is_bounded(use_compiled: bool) -> None:
    model = integer_model(1)
    values = np.full((1, 1, 1), LARGEST, np.int32)
    escapes, coded = split_escapes(encode_map(values, model))
    assert 1 <= len(escapes) <= 3
    for hostile in (b"\xff\xff\xff\x7f", b"\xff\xff\x7f", b"\xff\xff\xff"):
        with pytest.raises(CodecError):
            decode_map(leb128(len(hostile)) + hostile + coded, (1, 1, 1), model, use_compiled)


@pytest.mark.parametrize("shape", [(4, 2, 2), (3, 0, 2), (3, -1, 2)])
def test_a_shape_that_the_tables_do_not_fit(shape: Tuple[int, int, int]) -> None:
    with pytest.raises(CodecError, match="do not fit"):
        decode_map(bytes(40), shape, integer_model(3))


def test_threads_may_code_together() -> None:
    values, model = smooth_map(30, 9, 9), integer_model(30)
    expected, failures = encode_map(values, model), []

    def work() -> None:
        for _ in range(20):
            if encode_map(values, model) != expected or not (decode_map(expected, values.shape, model) == values).all():
                failures.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def _one_more(array: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed.flat[1] += 1
    return changed


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("cumulative", lambda a: a * 0),
        ("cumulative", lambda a: np.where(a == TOTAL, TOTAL + 1, a).astype(np.int32)),
        ("cumulative", lambda a: a[..., ::-1].copy()),
        ("cumulative", lambda a: a.astype(np.int64)),
        ("radius", lambda a: a + 40),
        ("radius", lambda a: a * 0),
        ("radius", _one_more),
        ("thresholds", lambda a: a[::-1].copy()),
        ("thresholds", lambda a: a[:-1].copy()),
        ("predict", lambda a: a * 100),
        ("predict", lambda a: np.full_like(a, -(2**31))),
        ("weights", lambda a: a * 100),
        ("prior", lambda a: np.full_like(a, -(2**31))),
        ("prior", lambda a: a[:0].copy()),
    ],
)
def test_tables_that_would_break_the_coder_are_refused(name: str, change) -> None:
    model = integer_model(3)
    with pytest.raises(CodecError, match="codec tables"):
        dataclasses.replace(model, **{name: change(getattr(model, name))})
