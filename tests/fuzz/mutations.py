"""Bytes and messages that are nearly right."""

from __future__ import annotations

import copy
import random
import zlib
from typing import Any, Callable, List, Sequence, Tuple

import msgpack

from ppsplit.wire.frame import HEADER, HEADER_BYTES, MAGIC, VERSION

EDGE_INTEGERS = (0, 1, -1, 2, 15, 16, 17, 255, 256, 2**16, 2**31 - 1, 2**31, 2**32, 2**63 - 1, -(2**63), 2**64 - 1)
EDGE_VALUES: Tuple[Any, ...] = (
    *EDGE_INTEGERS,
    *(None, True, False, 0.0, -0.0, 1e308, float("nan"), float("inf"), "", "a" * 513, "\ud800", b"", b"\0" * 64),
    *([], {}, [[]], {"": None}, [0] * 300),
)
Rng = random.Random


def mutate_bytes(data: bytes, others: Sequence[bytes], rng: Rng) -> bytes:
    """One to four of: flipped bits, other bytes, a part cut out, doubled, put in, or taken from another input."""
    mutated = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        rng.choice(_BYTE_MUTATIONS)(mutated, others, rng)
    return bytes(mutated)


def mutate_message(frame: bytes, others: Sequence[bytes], rng: Rng) -> bytes:
    """A frame in order around a body that is not: header and checksum are right, so that what is behind them reads it.

    Half of the time it is the body's bytes that are changed, otherwise one to three of the values in its msgpack.
    """
    if rng.random() < 0.5:
        return frame_around(mutate_bytes(frame[HEADER_BYTES:], [other[HEADER_BYTES:] for other in others], rng))
    body = msgpack.unpackb(frame[HEADER_BYTES:], raw=False)
    for _ in range(rng.choice((1, 1, 2, 3))):
        body = _changed_somewhere(body, rng)
    return frame_around(_packed(body))


def frame_around(content: bytes) -> bytes:
    """A right header in front of any content."""
    return HEADER.pack(MAGIC, VERSION, 0, 0, zlib.crc32(content), len(content)) + content


def _packed(body: Any) -> bytes:
    try:
        return bytes(msgpack.packb(body, use_bin_type=True, unicode_errors="surrogatepass"))
    except (ValueError, OverflowError):  # an edge value that msgpack cannot hold, here
        return b"\xc0"


def _changed_somewhere(value: Any, rng: Rng) -> Any:
    """`value` with one thing in it changed, left out or doubled; deeper down as often as not."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        changed, key = dict(value), rng.choice(list(value))
        if rng.random() < 0.1:
            del changed[key]
        elif rng.random() < 0.1:
            changed[rng.choice(("", "kind", "data", "x" * 600))] = changed.pop(key)
        else:
            changed[key] = _changed_somewhere(value[key], rng)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.85:
        items, index = list(value), rng.randrange(len(value))
        if rng.random() < 0.1:
            del items[index]
        elif rng.random() < 0.1:
            items *= rng.choice((2, 20))
        else:
            items[index] = _changed_somewhere(items[index], rng)
        return items
    if isinstance(value, bytes) and value and rng.random() < 0.9:
        return mutate_bytes(value, [value], rng)
    if isinstance(value, int) and not isinstance(value, bool) and rng.random() < 0.5:
        return value + rng.choice((-1, 1))
    return copy.deepcopy(rng.choice(EDGE_VALUES))


def _flip_bit(data: bytearray, others: Sequence[bytes], rng: Rng) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set_byte(data: bytearray, others: Sequence[bytes], rng: Rng) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xC6, 0xDD, 0xDF, 0xFF, rng.randrange(256)))


def _write_integer(data: bytearray, others: Sequence[bytes], rng: Rng) -> None:
    size = rng.choice((2, 4, 8))
    start = rng.randrange(len(data) + 1)
    value = rng.choice(EDGE_INTEGERS) % 2 ** (8 * size)
    data[start : start + size] = value.to_bytes(size, rng.choice(("little", "big")))


def _truncate(data: bytearray, others: Sequence[bytes], rng: Rng) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _cut_out(data: bytearray, others: Sequence[bytes], rng: Rng) -> None:
    start = rng.randrange(len(data) + 1)
    del data[start : start + rng.randrange(1, 33)]


def _double(data: bytearray, others: Sequence[bytes], rng: Rng) -> None:
    start = rng.randrange(len(data) + 1)
    part = data[start : start + rng.randrange(1, 65)]
    data[start:start] = part * rng.choice((1, 1, 8))


def _put_in(data: bytearray, others: Sequence[bytes], rng: Rng) -> None:
    start = rng.randrange(len(data) + 1)
    data[start:start] = rng.randbytes(rng.randrange(1, 33))


def _splice(data: bytearray, others: Sequence[bytes], rng: Rng) -> None:
    other = rng.choice(others)
    start, end = rng.randrange(len(data) + 1), rng.randrange(len(other) + 1)
    data[start:] = other[end:]


_BYTE_MUTATIONS: List[Callable[[bytearray, Sequence[bytes], Rng], None]] = [
    *(_flip_bit, _set_byte, _write_integer, _truncate, _cut_out, _double, _put_in, _splice),
]
