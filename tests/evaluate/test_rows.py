"""Which rows a bundle gives, and how they are chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppsplit.bundle import Bundle
from ppsplit.evaluate.rows import edge_only_row, planned_rows, select


@pytest.fixture
def names(tiny_yolo_bundle: Path) -> list:
    return [row.name for row in planned_rows(Bundle.open(tiny_yolo_bundle))]


def test_a_bundle_gives_each_codec_client_and_nb_and_the_rivals(names: list) -> None:
    splits = ["split/fp32", "split/fp16", "split/uint8", "split/uint4"]
    assert names == [*splits, "client/int8", "nb/x86", "nb/x86-int8", "jpeg/q50", "jpeg/q75", "jpeg/q90"]


def test_rows_are_chosen_by_name_or_group(tiny_yolo_bundle: Path) -> None:
    rows = [*planned_rows(Bundle.open(tiny_yolo_bundle)), edge_only_row("lite")]
    assert select(rows, ()) == rows
    assert [row.name for row in select(rows, ("jpeg", "edge-only", "nb/x86"))] == [
        *("nb/x86", "jpeg/q50", "jpeg/q75", "jpeg/q90", "edge-only")
    ]
    assert select(rows, ("nb/x8",)) == []


def test_arguments_say_what_the_row_says(tiny_yolo_bundle: Path) -> None:
    row = next(row for row in planned_rows(Bundle.open(tiny_yolo_bundle)) if row.name == "nb/x86-int8")
    assert row.arguments == (*("--cut", "pool4", "--runtime", "lite", "--precision", "int8", "--encoding", "uint8"),)
    assert (row.edge_macs_share > 0.2, row.precision, row.encoding) == (True, "int8", "uint8")
