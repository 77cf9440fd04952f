"""The packed file: golden bytes both ways, exactly the fake-quantized floats, really small, and hostile inputs."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any, Callable, Dict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ppsplit.errors import WeightsError
from ppsplit.quant.bitstream import PACKED_BITS, pack_codes, packed_bytes, unpack_codes
from ppsplit.quant.channels import bias_corrected
from ppsplit.quant.packed import (
    PREAMBLE,
    PackedLayer,
    decode_packed,
    encode_packed,
    read_packed,
    unpack_weights,
    write_packed,
)
from ppsplit.quant.uniform import for_weights

GOLDEN_HEADER = (
    b'{"fingerprint":"ab12","layers":['
    b'{"axis":0,"bits":6,"name":"conv.w","offset":false,"shape":[2,3]},'
    b'{"axis":null,"bits":32,"name":"conv.b","offset":false,"shape":[1]},'
    b'{"axis":null,"bits":2,"name":"fc","offset":true,"shape":[5]}]}'
)
GOLDEN_PAYLOAD = bytes.fromhex(
    "c1ff1f3f00 0000003f 00000040"  # 1 -1 -1 7 -1 0 in 6 bits each, scales 0.5 and 2
    "0000803e"  # 0.25
    "5c00 0000803f 000000bf"  # 0 -1 1 1 0 in 2 bits each, scale 1, offset -0.5
)


def golden_layers() -> Dict[str, Any]:
    codes = np.array([[1, -1, -1], [7, -1, 0]], np.int32)
    return {
        "conv.w": PackedLayer(codes, 6, np.float32([0.5, 2]), 0),
        "conv.b": np.float32([0.25]),
        "fc": PackedLayer(np.array([0, -1, 1, 1, 0]), 2, np.float32(1), None, np.float32(-0.5)),
    }


def framed(header: bytes, payload: bytes, magic: bytes = b"\x89PPQW\r\n\x1a", version: int = 1) -> bytes:
    return PREAMBLE.pack(magic, version, 0, len(header), len(payload), zlib.crc32(header + payload)) + header + payload


def test_golden_bytes() -> None:
    data = framed(GOLDEN_HEADER, GOLDEN_PAYLOAD)
    assert encode_packed(golden_layers(), "ab12") == data
    layers, fingerprint = decode_packed(data)
    assert fingerprint == "ab12" and list(layers) == ["conv.w", "conv.b", "fc"]
    np.testing.assert_array_equal(layers["conv.w"].weights(), [[0.5, -0.5, -0.5], [14, -2, 0]])
    np.testing.assert_array_equal(layers["fc"].weights(), [-0.5, -1.5, 0.5, 0.5, -0.5])
    assert layers["conv.b"].tolist() == [0.25]


@pytest.mark.parametrize(
    ("bits", "codes", "packed"),
    [
        (2, [], ""),
        (2, [1, -2, -1, 0, 1], "3901"),
        (4, [1, -1, 7], "f107"),
        (4, [-8], "08"),
        (6, [1, 2, 3, 4], "813010"),
        (6, [-1], "3f"),
        (6, [-32, 31], "e007"),
        (8, [-128, 127, 0], "807f00"),
    ],
)
def test_codes_lie_as_the_format_says(bits: int, codes: list, packed: str) -> None:
    assert pack_codes(np.array(codes, np.int64), bits).hex() == packed
    assert unpack_codes(bytes.fromhex(packed), len(codes), bits).tolist() == codes


@given(
    st.sampled_from(PACKED_BITS).flatmap(
        lambda b: st.tuples(st.just(b), st.lists(st.integers(-(2 ** (b - 1)), 2 ** (b - 1) - 1), max_size=40))
    )
)
def test_codes_come_back(case: tuple) -> None:
    bits, codes = case
    data = pack_codes(np.array(codes, np.int32), bits)
    assert len(data) == packed_bytes(len(codes), bits) == -(-len(codes) * bits // 8)
    assert unpack_codes(data, len(codes), bits).tolist() == codes


@pytest.mark.parametrize(("bits", "code"), [(2, 2), (2, -3), (4, 8), (6, -33), (8, 128)])
def test_codes_that_do_not_fit_are_refused(bits: int, code: int) -> None:
    with pytest.raises(WeightsError, match="codes lie in"):
        pack_codes(np.array([0, code]), bits)


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=4, max_side=5), elements=st.floats(-9, 9, width=32)),
    st.sampled_from(PACKED_BITS),
    st.booleans(),
)
def test_unpacking_gives_exactly_the_fake_quantized_weights(weights: np.ndarray, bits: int, whole: bool) -> None:
    quantizer = for_weights(weights, bits, None if whole else weights.ndim - 1)
    layer = PackedLayer(quantizer.encode(weights), bits, quantizer.scale, quantizer.axis)
    layers, _ = decode_packed(encode_packed({"w": layer}))
    back = layers["w"]
    assert isinstance(back, PackedLayer) and back.weights().dtype == np.float32
    assert back.weights().tobytes() == quantizer.fake(weights).tobytes()


def test_corrected_weights_come_back_too(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    codes, scale, offset = bias_corrected(weights, 4)
    layer = PackedLayer(codes, 4, scale, 0, offset)
    path = write_packed(tmp_path / "w.ppqw", {"w": layer, "b": np.zeros(4, np.float32)}, "f00d")
    back = unpack_weights(path)
    assert back["w"].tobytes() == layer.weights().tobytes() and back["b"].shape == (4,)
    assert read_packed(path)[1] == "f00d"
    assert [p.name for p in tmp_path.iterdir()] == ["w.ppqw"]


@pytest.mark.parametrize("bits", PACKED_BITS)
def test_the_file_is_really_that_small(bits: int, tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(64, 32, 3, 3)).astype(np.float32)
    quantizer = for_weights(weights, bits)
    path = write_packed(tmp_path / "w", {"w": PackedLayer(quantizer.encode(weights), bits, quantizer.scale, 0)})
    size = path.stat().st_size
    assert size == weights.size * bits // 8 + 64 * 4 + size_of_the_rest(path)
    assert size < weights.nbytes * bits / 32 + 400


def size_of_the_rest(path: Path) -> int:
    header_bytes = PREAMBLE.unpack_from(path.read_bytes())[3]
    assert header_bytes < 120
    return PREAMBLE.size + header_bytes


def test_no_layers_are_a_file_too() -> None:
    assert decode_packed(encode_packed({})) == ({}, "")
    empty = {"w": PackedLayer(np.zeros((0, 3), np.int8), 4, np.zeros(0, np.float32), 0), "b": np.zeros(0, np.float32)}
    layers, _ = decode_packed(encode_packed(empty))
    assert layers["w"].weights().shape == (0, 3) and layers["b"].shape == (0,)


DATA = encode_packed(golden_layers(), "ab12")


@pytest.mark.parametrize("length", range(len(DATA)))
def test_every_truncation_is_refused(length: int) -> None:
    with pytest.raises(WeightsError):
        decode_packed(DATA[:length])


def test_every_flipped_bit_is_refused() -> None:
    for position in range(len(DATA) * 8):
        broken = bytearray(DATA)
        broken[position // 8] ^= 1 << position % 8
        with pytest.raises(WeightsError):
            decode_packed(bytes(broken))


def described(**changes: Any) -> bytes:
    entry = {"axis": 0, "bits": 4, "name": "w", "offset": False, "shape": [2, 1], **changes}
    return json.dumps({"fingerprint": "", "layers": [entry]}, sort_keys=True, separators=(",", ":")).encode()


GOOD = b"\x11" + np.array([1, 1], "<f4").tobytes()
SPACED = described().replace(b",", b", ")
TWICE = json.dumps(
    {"fingerprint": "", "layers": 2 * json.loads(described())["layers"]}, sort_keys=True, separators=(",", ":")
).encode()


@pytest.mark.parametrize(
    ("header", "payload", "message"),
    [
        (described(), GOOD + b"\0", "belong to no layer"),
        (described(), GOOD[:-1], "are left"),
        (described(shape=[2, 1 << 35]), GOOD, "are left"),
        (described(shape=[1 << 39, 0]), b"", "are left"),
        (described(shape=[1 << 62, 0], axis=1), b"", "is none"),
        (described(shape=[2, -1]), GOOD, "is none"),
        (described(shape=[2.0, 1]), GOOD, "is none"),
        (described(shape=[True, 1]), GOOD, "is none"),
        (described(shape="21"), GOOD, "is none"),
        (described(shape=[1] * 9), GOOD, "is none"),
        (described(axis=2), GOOD, "axis 2 of 2"),
        (described(axis=-1), GOOD, "axis -1 of 2"),
        (described(bits=9), GOOD, "9 bits"),
        (described(bits=4.0), GOOD, "4.0 bits"),
        (described(bits=32), GOOD, "do not go with 32"),
        (described(offset=1), GOOD, "do not go"),
        (described(name=7), GOOD, "description"),
        (described(extra=7), GOOD, "description"),
        (described(shape=[3, 1]), b"\x11\x11" + np.ones(3, "<f4").tobytes(), "unused bits"),
        (described(), b"\x11" + np.array([0, 1], "<f4").tobytes(), "not above 0"),
        (described(), b"\x11" + np.array([np.nan, 1], "<f4").tobytes(), "not finite"),
        (TWICE, GOOD + GOOD, "two layers"),
        (SPACED, GOOD, "one form"),
        (b"[]", b"", "one form"),
        (b'{"fingerprint":"","layers":{}}', b"", "wrong kind"),
        (b'{"fingerprint":0,"layers":[]}', b"", "wrong kind"),
        (b'{"fingerprint":"","layers":[],"layers":[]}', b"", "one form"),
        (b'{"fingerprint":"","layers":[7]}', b"", "description"),
        (b"[" * 100_000, b"", "not JSON"),
        (b"\xff", b"", "not JSON"),
        (b"NaN", b"", "one form"),
    ],
)
def test_hostile_files_are_refused(header: bytes, payload: bytes, message: str) -> None:
    """With checksums that fit: whoever makes such a file can make those as well."""
    with pytest.raises(WeightsError, match=message):
        decode_packed(framed(header, payload))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: b"", "no packed weights"),
        (lambda: b"PK\3\4" + bytes(60), "not a packed"),
        (lambda: framed(described(), GOOD, version=2), "version 2"),
        (lambda: DATA + b"\0", "tail"),
        (lambda: PREAMBLE.pack(b"\x89PPQW\r\n\x1a", 1, 0, 2**32 - 1, 2**64 - 1, 0), "truncated"),
    ],
)
def test_what_is_no_such_file_is_refused(make: Callable[[], bytes], message: str, tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(make())
    with pytest.raises(WeightsError, match=message) as caught:
        read_packed(path)
    assert str(path) in str(caught.value)
    with pytest.raises(WeightsError, match="cannot read"):
        read_packed(tmp_path / "missing")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (np.zeros(3), "float64"),
        (PackedLayer(np.zeros(3, np.int8), 1, np.float32(1)), "1 bits"),
        (PackedLayer(np.zeros(3, np.int8), 4, np.float32([1, 2]), 0), "2 scales were given for 3"),
        (PackedLayer(np.zeros(3, np.int8), 4, np.float32(0)), "not above 0"),
        (PackedLayer(np.zeros(3, np.int8), 4, np.float32(1), 1), "axis 1 of 1"),
        (PackedLayer(np.zeros(3, np.float32), 4, np.float32(1)), "integers"),
    ],
)
def test_layers_that_are_none_are_not_written(layer: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=message):
        write_packed(tmp_path / "w", {"w": layer})
    assert not list(tmp_path.iterdir())
