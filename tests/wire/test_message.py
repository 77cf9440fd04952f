"""Messages survive the way; whatever else arrives is a WireError and nothing but."""

from __future__ import annotations

import struct
import zlib
from typing import Any, Dict

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppsplit.errors import ConfigError, OptionsError, WireError
from ppsplit.wire import HEADER_BYTES, FeatureMessage, Options, TensorMessage, WireTensor, pack, unpack

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
TENSOR = st.builds(
    WireTensor, TEXT, st.lists(st.integers(0, 2**31 - 1), max_size=8).map(tuple), TEXT, st.binary(max_size=50)
)
TENSORS = st.lists(TENSOR, max_size=4).map(tuple)
SHARE = st.none() | st.floats(0, 1)
OPTIONS = st.builds(Options, SHARE, SHARE, st.none() | st.integers(1, 100_000))
TIMES = st.dictionaries(TEXT, st.floats(0, 1e9), max_size=5)
MESSAGES = st.builds(FeatureMessage, TEXT, TEXT, TEXT, TENSORS, OPTIONS) | st.builds(
    TensorMessage, TEXT, TEXT, TENSORS, TIMES
)

SAMPLE = FeatureMessage("b" * 64, "pool4", "uint8", (WireTensor("t", (1, 2), "float32", b"\0ab"),), Options(0.5))
GOOD = pack(SAMPLE)


def frame(content: bytes) -> bytes:
    """A frame with a right header around any body."""
    return struct.pack("<4sBBHII", b"PPSF", 1, 0, 0, zlib.crc32(content), len(content)) + content


def body(**changes: Any) -> Dict[str, Any]:
    tensor = {"name": "t", "shape": [1, 2], "dtype": "float32", "data": b"\0ab"}
    sound = {"kind": "features", "cut": "c", "bundle": "b", "encoding": "uint8", "tensors": [tensor], "options": {}}
    return {key: value for key, value in {**sound, **changes}.items() if value is not ...}


def tensor(**changes: Any) -> Dict[str, Any]:
    return body(tensors=[{k: v for k, v in {**body()["tensors"][0], **changes}.items() if v is not ...}])


@given(MESSAGES)
def test_round_trip(message) -> None:
    assert unpack(pack(message)) == message


@given(MESSAGES, st.data())
def test_every_truncation_is_a_wire_error(message, data) -> None:
    packed = pack(message)
    with pytest.raises(WireError):
        unpack(packed[: data.draw(st.integers(0, len(packed) - 1))])


def test_every_single_flipped_bit_is_a_wire_error() -> None:
    for position in range(8 * len(GOOD)):
        damaged = bytearray(GOOD)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(WireError):
            unpack(bytes(damaged))


@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_any_body_under_a_right_header_is_a_message_or_a_wire_error(content: bytes) -> None:
    for data in (content, frame(content)):
        try:
            unpack(data)
        except WireError:
            pass


@settings(max_examples=500)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - HEADER_BYTES - 1), st.integers(0, 255)), max_size=6))
def test_a_changed_body_with_its_checksum_put_right_is_a_message_or_a_wire_error(changes) -> None:
    content = bytearray(GOOD[HEADER_BYTES:])
    for at, value in changes:
        content[at] = value
    try:
        unpack(frame(bytes(content)))
    except WireError:
        pass


HEADERS = {
    "empty": b"",
    "short": GOOD[:15],
    "other magic": b"PPSG" + GOOD[4:],
    "an HTTP page": b"<html>" * 10,
    "version 0": GOOD[:4] + b"\0" + GOOD[5:],
    "version 2": GOOD[:4] + b"\2" + GOOD[5:],
    "flags": GOOD[:5] + b"\1" + GOOD[6:],
    "reserved": GOOD[:6] + b"\1\0" + GOOD[8:],
    "checksum": GOOD[:8] + b"\0\0\0\0" + GOOD[12:],
    "length too large": GOOD[:12] + struct.pack("<I", 2**32 - 1) + GOOD[16:],
    "a byte behind": GOOD + b"\0",
    "twice": GOOD + GOOD,
}
NESTED = b"\x91" * 5000 + b"\xc0"
BODIES = {
    "empty": b"",
    "nil": b"\xc0",
    "a number": b"\x05",
    "an array": b"\x90",
    "two maps": b"\x80\x80",
    "cut off": msgpack.packb(body())[:-2],
    "never used byte": b"\xc1",
    "integer keys": b"\x81\x01\x02",
    "an array as key": b"\x81\x90\x02",
    "key twice": b"\x82\xa1a\x01\xa1a\x02",
    "kind twice": b"\x82\xa4kind\xa1a\xa4kind\xa1b",
    "not UTF-8": b"\x81\xa4kind\xa2\xff\xfe",
    "deep": NESTED,
    "deep under an unknown key": b"\x81\xa1x" + NESTED,
    "array of 2^32": b"\xdd\xff\xff\xff\xff",
    "map of 2^32": b"\xdf\xff\xff\xff\xff",
    "string of 2^32": b"\xdb\xff\xff\xff\xff",
    "binary of 2^32": b"\xc6\xff\xff\xff\xff",
    "array of 257": b"\x81\xa1x\xdc\x01\x01" + b"\xc0" * 257,
    "string of 513": b"\x81\xa1x\xda\x02\x01" + b"a" * 513,
    "extension": b"\x81\xa1x\xd4\x05\x00",
    "timestamp": b"\x81\xa1x\xd6\xff\x00\x00\x00\x00",
    "many maps": b"\x81\xa1x\xdc\x01\x00" + (b"\xdc\x00\x10" + b"\x80" * 16) * 256,
}
MESSAGES_REFUSED = {
    "no kind": body(kind=...),
    "kind features2": body(kind="features2"),
    "kind 1": body(kind=1),
    "kind binary": body(kind=b"features"),
    "no bundle": body(bundle=...),
    "bundle null": body(bundle=None),
    "no cut": body(cut=...),
    "no encoding": body(encoding=...),
    "no tensors": body(tensors=...),
    "tensors a map": body(tensors={}),
    "tensors of numbers": body(tensors=[1]),
    "options a list": body(options=[]),
    "options null": body(options=None),
    "binary key": {**body(), b"later": 1},
    "threshold null": body(options={"score_threshold": None}),
    "max_detections null": body(options={"max_detections": None}),
    "an unknown option": body(options={"top_k": 3}),
    "threshold NaN": body(options={"score_threshold": float("nan")}),
    "threshold infinite": body(options={"iou_threshold": float("inf")}),
    "threshold 1.1": body(options={"score_threshold": 1.1}),
    "threshold -1": body(options={"score_threshold": -1}),
    "threshold true": body(options={"score_threshold": True}),
    "threshold text": body(options={"score_threshold": "0.5"}),
    "max_detections 0": body(options={"max_detections": 0}),
    "max_detections huge": body(options={"max_detections": 2**63}),
    "max_detections 1.5": body(options={"max_detections": 1.5}),
    "max_detections true": body(options={"max_detections": True}),
    "tensor without name": tensor(name=...),
    "tensor with more": tensor(extra=1),
    "tensor name binary": tensor(name=b"t"),
    "shape text": tensor(shape="12"),
    "shape negative": tensor(shape=[-1, 2]),
    "shape 2^31": tensor(shape=[2**31]),
    "shape of floats": tensor(shape=[1.0]),
    "shape of booleans": tensor(shape=[True]),
    "nine dimensions": tensor(shape=[1] * 9),
    "dtype null": tensor(dtype=None),
    "data text": tensor(data="ab"),
    "data null": tensor(data=None),
    "times negative": body(kind="tensors", times_ms={"tail": -1.0}),
    "times text": body(kind="tensors", times_ms={"tail": "1"}),
    "times a list": body(kind="tensors", times_ms=[1]),
}


@pytest.mark.parametrize("case", HEADERS)
def test_hostile_headers(case: str) -> None:
    with pytest.raises(WireError):
        unpack(HEADERS[case])


@pytest.mark.parametrize("case", BODIES)
def test_hostile_bodies(case: str) -> None:
    with pytest.raises(WireError):
        unpack(frame(BODIES[case]))


@pytest.mark.parametrize("case", MESSAGES_REFUSED)
def test_hostile_messages(case: str) -> None:
    with pytest.raises(WireError):
        unpack(frame(msgpack.packb(MESSAGES_REFUSED[case])))


def test_unknown_top_level_keys_are_ignored() -> None:
    assert unpack(frame(msgpack.packb(body(deadline_ms=30, later={"a": [1]})))) == unpack(frame(msgpack.packb(body())))


def test_options_and_times_may_be_absent() -> None:
    assert unpack(frame(msgpack.packb(body(options=...)))).options == Options()
    assert unpack(frame(msgpack.packb(body(kind="tensors", options=...)))).times_ms == {}


@pytest.mark.parametrize(
    "message",
    [
        FeatureMessage("b" * 513, "c", "uint8", ()),
        FeatureMessage("b", "\ud800", "uint8", ()),
        FeatureMessage("b", "c", "uint8", (WireTensor("t", (-1,), "float32", b""),)),
        TensorMessage("b", "fp32", (), {"tail": float("nan")}),
    ],
)
def test_what_a_reader_would_refuse_is_not_written(message) -> None:
    with pytest.raises(WireError):
        pack(message)


@pytest.mark.parametrize(
    "options",
    [
        {"score_threshold": 7},
        {"score_threshold": float("nan")},
        {"iou_threshold": -0.1},
        {"max_detections": -1},
        {"max_detections": 10**400},
    ],
)
def test_options_out_of_range_are_not_made(options: Dict[str, Any]) -> None:
    with pytest.raises(OptionsError, match=f"{next(iter(options))} must be a") as caught:
        Options(**options)
    assert isinstance(caught.value, ConfigError)
