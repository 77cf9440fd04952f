"""A `.nb` whose weights are left out: they come back bit for bit, and nothing else is taken for them."""

from __future__ import annotations

import json
import tracemalloc
import zlib
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest

from ppsplit.errors import WeightsError
from ppsplit.runtime.packed_nb import PREAMBLE, pack_nb, read_packed_nb, unpack_nb

RANDOM = np.random.default_rng(0)
WEIGHTS = {"a": RANDOM.normal(size=(8, 3, 3, 3)).astype(np.float32), "b": RANDOM.normal(size=99).astype(np.float32)}
NB = b"program" * 9 + WEIGHTS["b"].tobytes() + b"between" + WEIGHTS["a"].tobytes() + b"end"
PACKED = pack_nb(NB, WEIGHTS)


def header_of(data: bytes) -> Dict[str, Any]:
    size = PREAMBLE.unpack_from(data)[3]
    return dict(json.loads(data[PREAMBLE.size : PREAMBLE.size + size]))


def framed(header: Any, skeleton: bytes, squeeze: bool = True) -> bytes:
    described = header if isinstance(header, bytes) else json.dumps(header).encode()
    body = zlib.compress(skeleton) if squeeze else skeleton
    checksum = zlib.crc32(body, zlib.crc32(described))
    return PREAMBLE.pack(b"\x89PPNB\r\n\x1a", 1, 0, len(described), len(body), checksum) + described + body


def test_it_comes_back_and_is_small() -> None:
    assert unpack_nb(PACKED, WEIGHTS) == NB
    assert unpack_nb(PACKED, {**WEIGHTS, "c": np.zeros(3, np.float32)}) == NB
    assert len(PACKED) < 250 < len(NB)
    assert [name for _, name in header_of(PACKED)["holes"]] == ["b", "a"]


@pytest.mark.parametrize(
    "weights",
    [{}, {"gone": np.ones(99, np.float32)}, {"tiny": np.zeros(3, np.float32)}, {"twice": WEIGHTS["a"], **WEIGHTS}],
    ids=["none", "not in it", "too small", "the same bytes under two names"],
)
def test_what_cannot_be_left_out_stays(weights: Dict[str, np.ndarray]) -> None:
    assert unpack_nb(pack_nb(NB, weights), weights) == NB


def test_other_weights_are_refused() -> None:
    for wrong in ({**WEIGHTS, "a": WEIGHTS["a"] + 1}, {**WEIGHTS, "a": WEIGHTS["a"][:4]}, {"a": WEIGHTS["a"]}):
        with pytest.raises(WeightsError):
            unpack_nb(PACKED, wrong)


@pytest.mark.parametrize("length", range(0, len(PACKED), 7))
def test_truncations_are_refused(length: int) -> None:
    with pytest.raises(WeightsError):
        unpack_nb(PACKED[:length], WEIGHTS)


def test_every_flipped_bit_is_refused() -> None:
    for position in range(len(PACKED)):
        damaged = bytearray(PACKED)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(WeightsError):
            unpack_nb(bytes(damaged), WEIGHTS)


GOOD = {"bytes": 396 + 4, "crc32": 0, "holes": [[2, "b"]]}


@pytest.mark.parametrize(
    ("header", "skeleton"),
    [
        (b"\xff", b"abcd"),
        (b"[" * 100_000, b"abcd"),
        ([], b"abcd"),
        ({"bytes": 4}, b"abcd"),
        ({**GOOD, "bytes": -1}, b"abcd"),
        ({**GOOD, "bytes": 1 << 40}, b"abcd"),
        ({**GOOD, "bytes": True}, b"abcd"),
        ({**GOOD, "crc32": "0"}, b"abcd"),
        ({**GOOD, "holes": {}}, b"abcd"),
        ({**GOOD, "holes": [[2]]}, b"abcd"),
        ({**GOOD, "holes": [[2, "x"]]}, b"abcd"),
        ({**GOOD, "holes": [["2", "b"]]}, b"abcd"),
        ({**GOOD, "holes": [[-1, "b"]]}, b"abcd"),
        ({**GOOD, "holes": [[5, "b"]]}, b"abcd"),
        ({**GOOD, "holes": [[2, "b"], [3, "b"]]}, b"abcd"),
        (GOOD, b"abc"),
        (GOOD, b"abcd" * 10_000_000),  # inflates to more than there is room for
        (GOOD, b"abcd"),  # the sum
    ],
)
def test_hostile_files_are_refused(header: Any, skeleton: bytes) -> None:
    with pytest.raises(WeightsError):
        unpack_nb(framed(header, skeleton), WEIGHTS)


def test_a_skeleton_that_is_not_compressed_is_refused() -> None:
    with pytest.raises(WeightsError, match="inflated"):
        unpack_nb(framed(GOOD, b"abcd", squeeze=False), WEIGHTS)


def test_one_weight_named_often_is_refused_before_it_is_copied() -> None:
    weights = {"large": np.zeros(1 << 20, np.float32)}
    header = {"bytes": 1 << 30, "crc32": 0, "holes": [[0, "large"]] * 1000}
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match="holes are larger"):
            unpack_nb(framed(header, b""), weights)
        assert tracemalloc.get_traced_memory()[1] < weights["large"].nbytes
    finally:
        tracemalloc.stop()


def test_a_file_says_its_name(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"gone\.nbz"):
        read_packed_nb(tmp_path / "gone.nbz", WEIGHTS)
    (tmp_path / "bad.nbz").write_bytes(PACKED[:-1])
    with pytest.raises(WeightsError, match=r"bad\.nbz: .*export the bundle again"):
        read_packed_nb(tmp_path / "bad.nbz", WEIGHTS)
