"""Paddle's file of parameters: the bytes that Paddle itself writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppsplit.errors import WeightsError
from ppsplit.runtime.pdiparams import encode_params

GOLDEN = bytes.fromhex(
    "00000000 0000000000000000 00000000 02000000 0803"  # a number, int64: described by its type alone
    "0700000000000000"
    "00000000 0000000000000000 00000000 07000000 0805 10ac02 1001"  # float32 [300, 1]
) + bytes(1200)


def test_golden_bytes_in_the_order_of_names() -> None:
    values = {"b": np.zeros((300, 1), np.float32), "a": np.array(7)}
    assert encode_params(values) == GOLDEN
    assert encode_params({}) == b""


def test_unknown_types_are_refused() -> None:
    with pytest.raises(WeightsError, match="'w' is complex128"):
        encode_params({"w": np.zeros(1, complex)})


def test_paddle_writes_the_same(tiny_yolo_bundle: Path) -> None:
    from ppsplit.export.program import FrozenProgram
    from ppsplit.export.simulate import parameter_values

    for prefix in (tiny_yolo_bundle / "cut0-pool4/head", tiny_yolo_bundle / "cut0-pool4/int8/quantized_model/model"):
        values = parameter_values(FrozenProgram.load(prefix))
        assert encode_params(values) == Path(f"{prefix}.pdiparams").read_bytes()
