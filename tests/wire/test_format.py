"""FORMAT.md is what the code does: its golden bytes, both ways."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict

import numpy as np
import pytest

import ppsplit.wire
from ppsplit.bundle import Clip, TensorSpec
from ppsplit.codec import ENCODINGS, FeatureCodec
from ppsplit.wire import FEATURES_TYPE, TENSORS_TYPE, FeatureMessage, Options, TensorMessage, WireTensor, pack, unpack

TEXT = (Path(ppsplit.wire.__file__).parent / "FORMAT.md").read_text(encoding="utf-8")
GOLDEN: Dict[str, bytes] = {
    name: bytes.fromhex(block) for name, block in re.findall(r"```hex (\w+)\n(.*?)```", TEXT, re.DOTALL)
}
MESSAGES = {
    "features": FeatureMessage(
        "b1",
        "c",
        "uint8",
        (WireTensor("t", (1, 2), "float32", bytes([0, 5, 255])),),
        Options(score_threshold=0.5, max_detections=9),
    ),
    "tensors": TensorMessage(
        "b1", "fp32", (WireTensor("o", (1, 1), "float32", b"\0" + np.float32(1).tobytes()),), {"tail": 1.5}
    ),
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_golden_messages_both_ways(kind: str) -> None:
    assert pack(MESSAGES[kind]) == GOLDEN[kind]
    assert unpack(GOLDEN[kind]) == MESSAGES[kind]


def test_golden_uint4() -> None:
    codec = FeatureCodec([TensorSpec("t", (5,), "float32")], "uint4", {"4": {"t": Clip(0, 15)}})
    (encoded,) = codec.encode({"t": np.array([0, 1, 2, 7.5, 15], np.float32)})
    assert encoded.data == GOLDEN["uint4"]
    assert codec.decode([encoded])["t"].tolist() == [0, 1, 2, 8, 15]


def test_the_text_names_every_encoding_and_media_type() -> None:
    for word in (*ENCODINGS, FEATURES_TYPE, TENSORS_TYPE):
        assert word in TEXT
