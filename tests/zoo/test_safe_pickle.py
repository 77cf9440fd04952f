"""Reading pickles of arrays without executing them."""

from __future__ import annotations

import collections
import contextlib
import datetime
import os
import pickle
import pickletools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ppsplit.errors import UnsafePickleError, WeightsError
from ppsplit.zoo.safe_pickle import load_pickle
from ppsplit.zoo.weight_file import read_weight_file

DTYPES = st.sampled_from(["<f4", "<f8", "<f2", ">f4", "<i8", "<i4", "|u1", "|i1", "|b1", "<u2"])
ARRAYS = DTYPES.flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), ARRAYS, max_size=4), st.sampled_from([2, 3, 4]))
@settings(max_examples=80, deadline=None)
def test_arrays_as_python_wrote_them(arrays, protocol):
    data = pickle.dumps(arrays, protocol=protocol)
    found = load_pickle(data)
    assert list(found) == list(arrays)
    for name, array in pickle.loads(data).items():  # not `arrays`: numpy itself turns big endian into native
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


@given(PLAIN, st.sampled_from([2, 3, 4]))
@settings(max_examples=80, deadline=None)
def test_plain_values(value, protocol):
    assert load_pickle(pickle.dumps(value, protocol=protocol)) == value


def test_fortran_order_an_ordered_dict_and_an_array_named_twice():
    array = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    found = load_pickle(pickle.dumps(collections.OrderedDict(a=array, b=array), protocol=2))
    assert (found["a"] == array).all() and found["a"] is found["b"]


def test_what_paddle_writes(tmp_path):
    path = tmp_path / "p.pdparams"
    array = np.ones((2, 3), np.float32)
    values = {"w": array, "named": ("linear_0.b_0", array), "StructuredToParameterName@@": {"w": "linear_0.w_0"}}
    path.write_bytes(pickle.dumps(values, protocol=4))
    found = read_weight_file(path).arrays
    assert list(found) == ["w", "named"] and (found["named"] == array).all()


class Calls:
    """Pickles as a call of `function` with `arguments`, then `state`."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


def by_hand(*parts: object) -> bytes:
    """Opcodes by name, other bytes as they are."""
    codes = {opcode.name: opcode.code.encode("latin1") for opcode in pickletools.opcodes}
    return b"\x80\x04" + b"".join(codes.get(part, part) if isinstance(part, str) else part for part in parts) + b"."


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


RECONSTRUCT = np.core.multiarray._reconstruct

HOSTILE = {
    "posix.system": Calls(os.system, "touch /tmp/never"),
    "builtins.eval": Calls(eval, "1"),
    "builtins.getattr": Calls(getattr, Calls(eval, "1"), "x"),
    "builtins.print": {"w": [Calls(print, "executed")]},
    "numpy.core.multiarray.scalar": Calls(np.core.multiarray.scalar, np.dtype("O"), b"x"),
    "dtype 'O8'": np.array([{}], object),
    "dtype 'V8'": np.zeros(1, [("a", "f4"), ("b", "f4")]),
    "dtype 'M8'": np.zeros(1, "M8[s]"),
    "datetime.date": datetime.date(2020, 1, 1),
    "rebuilds something other": Calls(RECONSTRUCT, np.dtype, (0,), b"b"),
    "rebuilds something else than shape 0": Calls(RECONSTRUCT, np.ndarray, (9,), b"b"),
}


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("says", [key for key in HOSTILE if "." in key or "dtype" in key])
def test_hostile_pickles(says, protocol):
    data = pickle.dumps(HOSTILE[says], protocol=protocol)
    pattern = says.replace("builtins.", r"(builtins|__builtin__)\.") + r".*nothing was executed"
    with pytest.raises(UnsafePickleError, match=pattern):
        load_pickle(data)
    assert not os.path.exists("/tmp/never")


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(HOSTILE["rebuilds something other"]),
        pickle.dumps(HOSTILE["rebuilds something else than shape 0"]),
        # BUILD on a dict, a list, a call's name; a call of what is no name; persistent ids; extension codes
        by_hand("EMPTY_DICT", "EMPTY_DICT", "BUILD"),
        by_hand("EMPTY_LIST", "EMPTY_DICT", "BUILD"),
        by_hand(text("numpy"), text("dtype"), "STACK_GLOBAL", "EMPTY_DICT", "BUILD"),
        by_hand(text("numpy"), text("ndarray"), "STACK_GLOBAL", "EMPTY_TUPLE", "REDUCE"),
        by_hand("EMPTY_DICT", "EMPTY_TUPLE", "REDUCE"),
        by_hand(text("numpy"), text("dtype"), "STACK_GLOBAL", "EMPTY_TUPLE", "NEWOBJ"),
        by_hand(text("numpy"), text("dtype.type"), "STACK_GLOBAL"),
        by_hand(text("id"), "BINPERSID"),
        b"\x80\x02\x82\x01.",
        b"\x80\x02(ios\nsystem\n.",
        b"\x80\x02cos\nsystem\n(S'true'\ntR.",
    ],
)
def test_hostile_opcodes(data):
    with pytest.raises(UnsafePickleError):
        load_pickle(data)


def array_state(shape: tuple, data: bytes, dtype: str = "f4") -> bytes:
    """A pickle that fills a float array with a state of our making."""

    class State:
        def __reduce__(self):
            return RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, shape, np.dtype(dtype), False, data)

    return pickle.dumps(State(), protocol=4)


@pytest.mark.parametrize(
    ("shape", "data"),
    [((2,), b"1234"), ((1 << 40, 1 << 40), b""), ((-1,), b"1234"), ((1.0,), b"1234"), ((True,), b"1234")],
)
def test_array_sizes_that_lie(shape, data):
    with pytest.raises(WeightsError):
        load_pickle(array_state(shape, data))


def test_an_array_filled_with_a_list_of_objects():
    with pytest.raises(UnsafePickleError, match="fills an array with objects"):
        load_pickle(array_state((1,), [{}]))  # type: ignore[arg-type]


def test_every_truncation_is_an_error():
    data = pickle.dumps({"w": np.arange(6, dtype=np.float32), "b": (1, "x")}, protocol=4)
    for length in range(len(data)):
        with pytest.raises(WeightsError):
            load_pickle(data[:length])


@given(st.binary(max_size=60))
@settings(max_examples=300)
def test_noise_is_an_error_or_a_value(noise):
    with contextlib.suppress(WeightsError):
        load_pickle(b"\x80\x04" + noise)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_flipped_bytes_are_an_error_or_a_value(data):
    original = bytearray(
        pickle.dumps({"w": np.arange(4, dtype=np.float32)}, protocol=data.draw(st.sampled_from([2, 4])))
    )
    for _ in range(data.draw(st.integers(1, 3))):
        original[data.draw(st.integers(0, len(original) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(WeightsError):
        load_pickle(bytes(original))


@pytest.mark.parametrize("value", [[1, 2], {"w": 3}, {1: np.zeros(1)}, {"w": {"deep": np.zeros(1)}}, None])
def test_a_pickle_of_something_else(tmp_path, value):
    path = tmp_path / "p.pdparams"
    path.write_bytes(pickle.dumps(value, protocol=4))
    with pytest.raises(WeightsError, match="expected"):
        read_weight_file(path)


def test_a_key_nested_too_deep_to_be_hashed():
    with pytest.raises(WeightsError, match="keys are not plain"):
        load_pickle(by_hand("EMPTY_DICT", "NONE", *["TUPLE1"] * 300_000, "NONE", "SETITEM"))


def test_a_name_nested_too_deep_to_be_shown():
    deep = by_hand(text("numpy"), text("dtype"), "STACK_GLOBAL", "NONE", *["TUPLE1"] * 100_000, "TUPLE1", "REDUCE")
    with pytest.raises(UnsafePickleError, match="dtype a tuple"):
        load_pickle(deep)


def test_protocol_5_and_a_missing_file(tmp_path):
    with pytest.raises(WeightsError, match="protocol 5"):
        load_pickle(pickle.dumps({}, protocol=5))
    with pytest.raises(WeightsError, match="cannot read"):
        read_weight_file(tmp_path / "none.pdparams")
