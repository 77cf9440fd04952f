"""Features as grey WebP: near what was sent, and no header is believed that the manifest does not justify."""

from __future__ import annotations

from typing import Tuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppsplit.bundle import Clip, TensorSpec
from ppsplit.codec import EncodedTensor
from ppsplit.codec.leb128 import leb128, read_leb128
from ppsplit.codec.mosaic import MosaicCodec
from ppsplit.errors import CodecError

SPECS = (TensorSpec("t", (-1, 5, 8, 10), "float32"), TensorSpec("shape", (2,), "int64"))
CLIPS = {"8": {"t": Clip(-2.0, 2.0), "row": Clip(-1.0, 1.0)}}


def codec(quality: int = 90) -> MosaicCodec:
    return MosaicCodec(SPECS, CLIPS, quality)


def features(batch: int = 2) -> dict:
    rows = np.sin(np.arange(8)[:, None] / 3 + np.arange(10) / 4 + np.arange(5)[:, None, None])
    return {"t": np.stack([rows * (1 + i) for i in range(batch)]).astype(np.float32), "shape": np.array([3, -1])}


@pytest.mark.parametrize("batch", [1, 3])
def test_what_comes_back_is_near(batch: int) -> None:
    sent = features(batch)
    got = codec(100).decode(codec(100).encode(sent))
    assert got["t"].shape == sent["t"].shape and got["t"].dtype == np.float32
    assert np.abs(got["t"] - np.clip(sent["t"], -2, 2)).mean() < 0.05
    np.testing.assert_array_equal(got["shape"], sent["shape"])


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 3), (2, 1, 1), (3, 5, 2), (17, 4, 4), (64, 20, 20)])
def test_shapes(shape: Tuple[int, int, int]) -> None:
    learned = MosaicCodec([TensorSpec("t", (-1, *shape), "float32")], CLIPS, 100)
    sent = np.full((1, *shape), 0.7, np.float32)
    sent[0, -1] = -0.7
    got = learned.decode(learned.encode({"t": sent}))["t"]
    assert got.shape == sent.shape and np.abs(got - sent).mean() < 0.6


def test_better_quality_costs_more_bytes() -> None:
    rng = np.random.default_rng(0)
    sent = {**features(1), "t": rng.standard_normal((1, 5, 8, 10)).astype(np.float32)}
    sizes = [len(codec(quality).encode(sent)[0].data) for quality in (5, 40, 90)]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("strange", [np.nan, np.inf])
def test_what_is_not_finite_is_not_encoded(strange: float) -> None:
    sent = features()
    sent["t"][0, 1, 2, 3] = strange
    with pytest.raises(CodecError, match="NaN or infinite"):
        codec().encode(sent)


@pytest.mark.parametrize("quality", [0, 101, 5.0, True])
def test_no_quality(quality: int) -> None:
    with pytest.raises(CodecError, match="quality"):
        codec(quality)


def test_what_has_no_range_or_makes_too_large_a_picture() -> None:
    with pytest.raises(CodecError, match="8-bit range"):
        MosaicCodec(SPECS, {})
    with pytest.raises(CodecError, match="too large"):
        MosaicCodec([TensorSpec("t", (-1, 4, 9000, 1), "float32")], CLIPS)


def _file() -> bytes:
    (encoded, _) = codec().encode(features(1))
    return encoded.data[read_leb128(encoded.data, 0)[1] :]


def _decode(file: bytes) -> np.ndarray:
    _, exact = codec().encode(features(1))
    return codec().decode([EncodedTensor("t", (1, 5, 8, 10), "float32", leb128(len(file)) + file), exact])["t"]


def test_hostile_headers_are_refused_before_a_picture_is_made() -> None:
    file = _file()
    assert _decode(file).shape == (1, 5, 8, 10)
    huge = file[:26] + b"\xff\x3f\xff\x3f" + file[30:]
    with pytest.raises(CodecError, match="16383x16383"):
        _decode(huge)
    extended = b"RIFF" + (len(file) + 10).to_bytes(4, "little") + b"WEBPVP8X" + bytes(10) + file[12:]
    for wrong in (extended, file + b"\0\0", file[:29], b"", b"\x89PNG" + file[4:], file.replace(b"VP8 ", b"VP8L", 1)):
        with pytest.raises(CodecError, match="WebP"):
            _decode(wrong)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_gives_finite_values_or_a_codec_error(data: st.DataObject) -> None:
    damaged = bytearray(_file())
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(1, len(damaged)))
    try:
        assert np.isfinite(_decode(bytes(damaged[:cut]))).all()
    except CodecError:
        pass


def test_truncated_and_longer_data_is_refused() -> None:
    tensor, exact = codec().encode(features(2))
    for data in (tensor.data[:-1], tensor.data + b"\0", tensor.data[:10], b""):
        with pytest.raises(CodecError):
            codec().decode([tensor._replace(data=data), exact])
