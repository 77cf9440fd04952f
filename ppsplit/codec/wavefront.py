"""Integer maps [C, H, W] to bytes and back: predicted means, trained tables and rANS, all in integers.

Order. In step t = 0, 1, ... the elements (c, i) with i + 2 c = t are coded, c ascending; i counts positions row by row.
So channel c sees all in front of it in its own map, and in the maps of the channels before also the place itself and
the one to its right; and the elements of one step depend on none of each other, which lets numpy compute them together.
`codec.contexts` says what is made of the surroundings, `codec.rans` how symbols become words.

    data = LEB128 number of escape bytes, escape bytes, states (uint32 each), words (uint16 each), little-endian

Integers may be given, or chosen while they are coded: of the two around a component, 0 and the predicted mean, the one
whose error and bits together cost least (Sullivan and Wiegand, "Rate-distortion optimization for video compression",
1998). A decoder does not see which.
"""

from __future__ import annotations

from typing import Sequence, Tuple

import numpy as np

from ppsplit.codec import compiled, rans
from ppsplit.codec.contexts import contexts_of, energies_of, means_of
from ppsplit.codec.entropy_model import FRACTIONS, ROW, EntropyModel
from ppsplit.codec.leb128 import DAMAGED, leb128, read_leb128
from ppsplit.codec.stepwise import LAG, Chooser, Decoder
from ppsplit.errors import CodecError

LARGEST = 32_767


def encode_map(values: np.ndarray, model: EntropyModel, use_compiled: bool = True) -> bytes:
    """Bytes of an integer map.

    Args:
        values: integers [C, H, W], each within +-LARGEST.
        model: for C channels.
        use_compiled: with the compiled core where there is one; the bytes are the same without.

    Raises:
        CodecError: shape, type or values do not fit.
    """
    _check(values, model)
    if not np.issubdtype(values.dtype, np.integer) or int(values.min()) < -LARGEST or int(values.max()) > LARGEST:
        raise CodecError(f"an integer map holds integers within +-{LARGEST}, got {values.dtype}; lower the quality")
    values = np.ascontiguousarray(values, np.int32)
    core = compiled.core() if use_compiled else None
    return _encode(values, model) if core is None else core.encode(values, model)


def encode_components(
    components: np.ndarray, worth: np.ndarray, trade: int, model: EntropyModel, use_compiled: bool = True
) -> Tuple[bytes, np.ndarray]:
    """Bytes of integers near `components`, and these integers, int32 [C, H, W].

    Args:
        components: float32 [C, H, W], in steps; beyond +-LARGEST they saturate.
        worth: int32 [H, W], in 1/256, 1 to 65536: what a squared error costs at a position.
        trade: what a bit costs, in 1/65536 squared steps; 0 rounds to the nearest.
        model, use_compiled: as in `encode_map`.

    Raises:
        CodecError: shapes do not fit.
    """
    _check(components, model)
    if worth.shape != components.shape[1:]:
        raise CodecError(f"worth has shape {worth.shape}, components have {components.shape}")
    fixed = np.rint(np.clip(components, -LARGEST, LARGEST) * np.float32(256)).astype(np.int32)
    worth = np.ascontiguousarray(worth, np.int32)
    core = compiled.core() if use_compiled else None
    if core is not None:
        return core.encode_components(np.ascontiguousarray(fixed), worth, trade, model)
    values = Chooser(fixed, worth, trade, model, LARGEST).choose()
    return _encode(values, model), values


def decode_map(data: bytes, shape: Sequence[int], model: EntropyModel, use_compiled: bool = True) -> np.ndarray:
    """Inverse of `encode_map`: int32 [C, H, W]. Time and memory depend on `shape` alone.

    Raises:
        CodecError: the bytes are not what `encode_map` made of such a map with this model.
    """
    channels, height, width = shape
    if channels != model.channels or min(shape) < 1:
        raise CodecError(f"features of shape {tuple(shape)} do not fit codec tables for {model.channels} channels")
    escapes, coded = split_escapes(data)
    core = compiled.core() if use_compiled else None
    if core is None:
        return Decoder(escapes, coded, (channels, height, width), model, LARGEST).decode()
    values = core.decode(escapes, coded, (channels, height, width), model)
    if values is None:
        raise CodecError(DAMAGED)
    return values


def split_escapes(data: bytes) -> Tuple[bytes, bytes]:
    """The escape bytes, and the states and words behind them. Raises CodecError."""
    size, used = read_leb128(data, 0)
    if size > len(data) - used:
        raise CodecError(DAMAGED)
    return data[used : used + size], data[used + size :]


def _check(maps: np.ndarray, model: EntropyModel) -> None:
    if maps.ndim != 3 or maps.shape[0] != model.channels or not maps.size:
        raise CodecError(f"an integer map has shape {maps.shape}, the codec's tables are for {model.channels} channels")


def _encode(values: np.ndarray, model: EntropyModel) -> bytes:
    means = means_of(values, model.predict)
    energies = energies_of(values, means, model.prior, model.weights)
    centres, mirrored, bins, fractions = contexts_of(means, energies, model.thresholds)
    distances = np.where(mirrored, centres - values, values - centres)
    radius = model.radius[bins]
    symbols = np.clip(distances, -radius, radius) + radius
    table = (bins * FRACTIONS + fractions) * ROW + symbols
    flat = model.cumulative.ravel()
    order = _order(*values.shape)
    starts = flat[table].ravel()[order].astype(np.int64)
    frequencies = flat[table + 1].ravel()[order] - starts
    beyond = (np.abs(distances) - radius).ravel()[order]
    escapes = b"".join(leb128(int(far)) for far in beyond[beyond >= 0])
    lanes = min(rans.LANES, len(values))
    lane_of = order // (values.shape[1] * values.shape[2]) % lanes
    states, words = rans.to_words(starts, frequencies, lane_of, lanes)
    return leb128(len(escapes)) + escapes + states.astype("<u4").tobytes() + words.astype("<u2").tobytes()


def _order(channels: int, height: int, width: int) -> np.ndarray:
    """Flat indices of all elements in the order of coding."""
    steps = np.arange(height * width) + LAG * np.arange(channels)[:, None]
    return np.argsort(steps.ravel(), kind="stable")  # stable: c ascending within a step
