"""Codec tables: the same bytes, the same tables; anything else is refused."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest

from ppsplit.codec.tables import FeatureTables, TensorTables, from_bytes, load_tables, scale_of, to_bytes
from ppsplit.errors import CodecError
from tests.codec.integer_tables import tables_for, tensor_tables

TABLES = tables_for({"deep": 5, "skip.tmp_0": 1})


def test_round_trip_and_equal_bytes(tmp_path: Path) -> None:
    data = to_bytes(TABLES)
    assert data == to_bytes(TABLES)
    (tmp_path / "tables.npz").write_bytes(data)
    found = load_tables(tmp_path / "tables.npz")
    assert load_tables(tmp_path / "tables.npz") is found
    assert (found.qualities, list(found.tensors)) == (TABLES.qualities, list(TABLES.tensors))
    assert to_bytes(found) == data


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "tables.npz"
    path.write_bytes(to_bytes(TABLES))
    first = load_tables(path)
    path.write_bytes(to_bytes(tables_for({"deep": 3})))
    assert list(load_tables(path).tensors) != list(first.tensors)


def test_scale() -> None:
    assert scale_of(50) == 1
    assert scale_of(66) == 2
    assert scale_of(34) == 0.5


@pytest.mark.parametrize(("quality", "expected"), [(1, 30), (49, 30), (51, 70), (100, 70)])
def test_the_nearest_rung(quality: int, expected: int) -> None:
    tensor = tensor_tables(1, 0.5)
    marked = tuple(dataclasses.replace(rung, backward=rung.backward + i) for i, rung in enumerate(tensor.rungs))
    tables = FeatureTables((30, 70), {"t": dataclasses.replace(tensor, rungs=marked)})
    assert tables.rung("t", quality) is marked[(30, 70).index(expected)]


def _with(**changes: np.ndarray) -> bytes:
    with np.load(io.BytesIO(to_bytes(TABLES))) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays.update({name.replace("__", "/"): array for name, array in changes.items()})
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04 no zip",
        to_bytes(TABLES)[:-40],
        _with(version=np.array(1)),
        _with(qualities=np.array([70, 30])),
        _with(qualities=np.array([30, 70, 90])),
        _with(qualities=np.array([], np.int32)),
        _with(qualities=np.array([0, 30])),
        _with(names=np.array(["a", "b", "c"])),
        _with(**{"0__mean": np.zeros(4, np.float32)}),
        _with(**{"0__forward": np.full((5, 5), np.nan, np.float32)}),
        _with(**{"0__forward": np.zeros((4, 5), np.float32)}),
        _with(**{"0__worth": np.zeros((4, 13), np.float32)}),
        _with(**{"0__worth": np.zeros((3, 3), np.float32)}),
        _with(**{"0__worth": np.zeros(3, np.float32)}),
        _with(**{"0__worth": np.full((4, 3), np.inf, np.float32)}),
        _with(**{"0__1__backward": np.zeros((5, 5), np.float32)}),
        _with(**{"0__1__radius": np.zeros(12, np.int32)}),
    ],
)
def test_what_are_no_tables(data: bytes) -> None:
    with pytest.raises(CodecError, match="codec tables"):
        from_bytes(data)


def test_pickles_are_not_read() -> None:
    with pytest.raises(CodecError, match="cannot be read"):
        from_bytes(_with(version=np.array([{"a": 1}], object)))


def test_a_tensor_without_all_rungs() -> None:
    with pytest.raises(CodecError, match="lacks rungs"):
        FeatureTables((30, 70), {"t": tensor_tables(2, 0.5, rungs=1)})
    assert isinstance(tensor_tables(2, 0.5), TensorTables)


def test_a_rung_may_have_fewer_components_but_no_more() -> None:
    tensor, one = tensor_tables(3, 0.5), tensor_tables(2, 0.5).rungs[0]
    fewer = dataclasses.replace(one, backward=np.zeros((3, 10), np.float32))
    tables = FeatureTables((30, 70), {"t": dataclasses.replace(tensor, rungs=(fewer, tensor.rungs[1]))})
    assert [rung.model.channels for rung in from_bytes(to_bytes(tables)).tensors["t"].rungs] == [2, 3]
    with pytest.raises(CodecError, match="components"):
        dataclasses.replace(tensor_tables(2, 0.5), rungs=(tensor.rungs[0],))
