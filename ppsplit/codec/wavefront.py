"""Integer maps [C, H, W] to bytes and back: predicted means, trained tables and rANS, all in integers.

Order. In step t = 0, 1, ... the elements (c, i) with i + 2 c = t are coded, c ascending; i counts positions row by row.
So channel c sees all in front of it in its own map, and in the maps of the channels before also the place itself and
the one to its right; and the elements of one step depend on none of each other, which lets numpy compute them together.

Model. An element's mean is a weighted sum of its six neighbours (as lossless image coders predict, with weights fitted
per channel). The energy, a weighted sum of how far the neighbours in space and in the channels before lay from their
means (Wu and Memon, "Context-based, adaptive, lossless image coding", 1997, section III.C), chooses one of some forty
bins. Bin and the mean's fraction choose a table of the distance between value and rounded mean, mirrored where the
fraction is negative. Distances beyond a table's radius follow as LEB128 numbers in front of the stream.

Coder. rANS (Duda, "Asymmetric numeral systems", 2013) with 32-bit states and 16-bit words; channel c belongs to state
c mod 16, and all states share one stream of words. The stream ends with every state at its initial value.

    data = LEB128 number of escape bytes, escape bytes, states (uint32 each), words (uint16 each), little-endian
"""

from __future__ import annotations

from typing import Iterator, Sequence, Tuple

import numpy as np

from ppsplit.codec import compiled
from ppsplit.codec.entropy_model import FRACTIONS, ROW, TOTAL, EntropyModel
from ppsplit.errors import CodecError

LAG, LANES, LOW, CAP = 2, 16, 65_536, 1_023
LARGEST = 32_767
MAX_EXCESS_BYTES = 3
PLACES = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0))  # rows and columns of the six neighbours
DAMAGED = "the coded features are damaged, or were made with other tables; send them again from the same bundle"


def encode_map(values: np.ndarray, model: EntropyModel, use_compiled: bool = True) -> bytes:
    """Bytes of an integer map.

    Args:
        values: integers [C, H, W], each within +-LARGEST.
        model: for C channels.
        use_compiled: with the compiled core where there is one; the bytes are the same without.

    Raises:
        CodecError: shape, type or values do not fit.
    """
    if values.ndim != 3 or values.shape[0] != model.channels or not values.size:
        raise CodecError(
            f"an integer map has shape {values.shape}, the codec's tables are for {model.channels} channels"
        )
    if not np.issubdtype(values.dtype, np.integer) or int(values.min()) < -LARGEST or int(values.max()) > LARGEST:
        raise CodecError(f"an integer map holds integers within +-{LARGEST}, got {values.dtype}; lower the quality")
    values = np.ascontiguousarray(values, np.int32)
    core = compiled.core() if use_compiled else None
    if core is not None:
        return core.encode(values, model)
    return _encode(values, model)


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
    if core is not None:
        values = core.decode(escapes, coded, (channels, height, width), model)
        if values is None:
            raise CodecError(DAMAGED)
        return values
    return _Decoder(escapes, coded, (channels, height, width), model).decode()


def split_escapes(data: bytes) -> Tuple[bytes, bytes]:
    """The escape bytes, and the states and words behind them. Raises CodecError."""
    size, used = read_leb128(data, 0)
    if size > len(data) - used:
        raise CodecError(DAMAGED)
    return data[used : used + size], data[used + size :]


def leb128(number: int) -> bytes:
    """A number from 0 in groups of 7 bits, lowest first; all bytes but the last have their highest bit set."""
    groups = []
    while number >= 128:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])


def read_leb128(data: bytes, at: int, most_bytes: int = 5) -> Tuple[int, int]:
    """An LEB128 number and where it ends. Raises CodecError."""
    number = 0
    for used, byte in enumerate(data[at : at + most_bytes]):
        number |= (byte & 127) << 7 * used
        if byte < 128:
            return number, at + used + 1
    raise CodecError(DAMAGED)


def _padded(values: np.ndarray) -> np.ndarray:
    """With 2 rows of zeros above and 2 columns on both sides."""
    return np.pad(values, ((0, 0), (2, 0), (2, 2)))


def _at(padded: np.ndarray, row: int, column: int) -> np.ndarray:
    """The neighbours at this distance, for all elements."""
    height, width = padded.shape[1] - 2, padded.shape[2] - 4
    return padded[:, 2 + row : 2 + row + height, 2 + column : 2 + column + width]


def _before(maps: np.ndarray, distance: int) -> np.ndarray:
    """The map `distance` channels before, 0 where there is none."""
    shifted = np.zeros_like(maps)
    shifted[distance:] = maps[: max(0, len(maps) - distance)]
    return shifted


def neighbours_of(values: np.ndarray) -> Iterator[np.ndarray]:
    """The values at each of PLACES, [C, H, W] each, 0 outside."""
    padded = _padded(values)
    for place in PLACES:
        yield _at(padded, *place)


def means_of(values: np.ndarray, predict: np.ndarray) -> np.ndarray:
    """Predicted means in 1/256, int32 [C, H, W], of int32 values; `predict` as in `EntropyModel`."""
    means = np.zeros_like(values)
    for weights, neighbours in zip(predict.T, neighbours_of(values)):
        means += weights[:, None, None] * neighbours
    return means


def residuals_of(values: np.ndarray, means: np.ndarray) -> np.ndarray:
    """How far values lie from their means, in 1/16, capped."""
    return np.minimum(np.abs(256 * values - means) // 16, CAP)


def features_of(values: np.ndarray, means: np.ndarray) -> Iterator[np.ndarray]:
    """The FEATURES of the energy, one int32 [C, H, W] after the other."""
    residuals = residuals_of(values, means)
    around = _padded(residuals)
    yield from neighbours_of(residuals)
    yield _before(residuals, 1)
    yield _before(residuals, 2)
    yield _before(residuals, 3) + _before(residuals, 4)
    yield sum((_before(residuals, distance) for distance in (5, 6, 7, 8)), np.zeros_like(residuals))
    yield _before(_at(around, 0, -1) + _at(around, -1, 0) + _at(around, 0, 1), 1)
    yield np.minimum(np.abs(means) // 16, CAP)
    padded = _padded(np.abs(values))
    yield np.minimum(16 * (_at(padded, 0, -1) + _at(padded, -1, 0)), CAP)


def energies_of(values: np.ndarray, means: np.ndarray, prior: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Energies in 1/4096, int32 [C, H, W]; `prior` and `weights` as in `EntropyModel`."""
    energies = np.broadcast_to(prior[:, None, None], values.shape).copy()
    for factors, feature in zip(weights.T, features_of(values, means)):
        energies += factors[:, None, None] * feature
    return energies


def contexts_of(means: np.ndarray, energies: np.ndarray, thresholds: np.ndarray) -> Tuple[np.ndarray, ...]:
    """Rounded mean, whether distances are mirrored, bin, and class of the fraction."""
    centres = (means + 128) >> 8
    fractions = means - (centres << 8)
    bins = np.searchsorted(thresholds, energies, side="right")
    return centres, fractions < 0, bins, np.minimum(np.abs(fractions) // 16, 7)


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
    lanes = min(LANES, len(values))
    channel_size = values.shape[1] * values.shape[2]
    states, words = _to_words(starts, frequencies, order // channel_size % lanes, lanes)
    return leb128(len(escapes)) + escapes + states.astype("<u4").tobytes() + words.astype("<u2").tobytes()


def _order(channels: int, height: int, width: int) -> np.ndarray:
    """Flat indices of all elements in the order of coding."""
    steps = np.arange(height * width) + LAG * np.arange(channels)[:, None]
    return np.argsort(steps.ravel(), kind="stable")  # stable: c ascending within a step


def _to_words(
    starts: np.ndarray, frequencies: np.ndarray, lane_of: np.ndarray, lanes: int
) -> Tuple[np.ndarray, np.ndarray]:
    """Final states and words. The states do not depend on each other, so they advance together, last symbol first."""
    turns = [np.flatnonzero(lane_of == lane)[::-1] for lane in range(lanes)]
    rounds = max(map(len, turns))
    where = np.full((rounds, lanes), -1, np.int64)
    for lane, elements in enumerate(turns):
        where[: len(elements), lane] = elements
    absent = where < 0  # coded as the only symbol there is, which changes nothing
    start, frequency = np.where(absent, 0, starts[where]), np.where(absent, TOTAL, frequencies[where])
    limit = frequency << 16
    states = np.full(lanes, LOW, np.int64)
    before, full = np.empty((rounds, lanes), np.int64), np.empty((rounds, lanes), bool)
    for turn in range(rounds):
        before[turn] = states
        np.greater_equal(states, limit[turn], out=full[turn])
        quotient, rest = np.divmod(states >> (full[turn] * 16), frequency[turn])
        states = (quotient << 16) + rest + start[turn]
    emitted = np.zeros(len(starts), np.int64)
    is_emitted = np.zeros(len(starts), bool)
    emitted[where[full]], is_emitted[where[full]] = before[full] & 65_535, True
    return states, emitted[is_emitted]


class _Decoder:
    """One map being decoded, step by step."""

    def __init__(self, escapes: bytes, coded: bytes, shape: Tuple[int, int, int], model: EntropyModel) -> None:
        self._escapes, self._taken, self._model, self._shape = escapes, 0, model, shape
        channels, height, width = shape
        lanes = min(LANES, channels)
        if len(coded) < 4 * lanes or len(coded) % 2:
            raise CodecError(DAMAGED)
        self._states = np.frombuffer(coded, "<u4", lanes).astype(np.int64)
        self._words = np.frombuffer(coded, "<u2", offset=4 * lanes).astype(np.int64)
        self._read = 0
        self._row, self._plane = width + 4, (height + 2) * (width + 4)
        # 8 channels of zeros in front, so that every channel has all channels before it
        self._values = np.zeros((channels + 8) * self._plane, np.int32)
        self._residuals = np.zeros_like(self._values)
        positions = np.arange(height * width)
        self._place = (positions // width + 2) * self._row + positions % width + 2
        self._offsets, self._gathered = self._neighbourhood()
        self._starts = model.cumulative.ravel().astype(np.int64)
        self._frequencies = np.append(np.diff(self._starts), 0)
        # all tables one after the other, ascending, so that one search finds the symbols of several tables
        self._ends = self._starts + np.repeat(np.arange(len(self._starts) // ROW) * TOTAL, ROW)

    def _neighbourhood(self) -> Tuple[np.ndarray, Tuple[np.ndarray, np.ndarray]]:
        """Offsets of the residuals that the energy is made of, and which weight belongs to each."""
        row, plane = self._row, self._plane
        own = [row * down + right for down, right in PLACES]
        before = [-plane * distance for distance in range(1, 9)]
        beside = [-plane - 1, -plane - row, -plane + 1]
        which = [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 9, 9, 9, 10, 10, 10]
        return np.array([*own, *before, *beside]), (self._model.weights[:, which], np.array(own))

    def decode(self) -> np.ndarray:
        """int32 [C, H, W]. Raises CodecError."""
        channels, height, width = self._shape
        count = height * width
        if (self._states < LOW).any():
            raise CodecError(DAMAGED)
        for step in range(count + LAG * (channels - 1)):
            first = 0 if step < count else (step - count) // LAG + 1
            self._step(step, first, min(step // LAG + 1, channels))
        if self._read != len(self._words) or self._taken != len(self._escapes) or (self._states != LOW).any():
            raise CodecError(DAMAGED)
        maps = self._values.reshape(channels + 8, height + 2, self._row)[8:, 2:, 2 : 2 + width]
        return np.ascontiguousarray(maps)

    def _step(self, step: int, first: int, last: int) -> None:
        model, channels = self._model, np.arange(first, last)
        at = (channels + 8) * self._plane + self._place[step - LAG * channels]
        weights, own = self._gathered
        around = self._values[at[:, None] + own]
        means = (model.predict[first:last] * around).sum(axis=1, dtype=np.int32)
        energies = model.prior[first:last] + (weights[first:last] * self._residuals[at[:, None] + self._offsets]).sum(
            axis=1, dtype=np.int32
        )
        energies += model.weights[first:last, 11] * np.minimum(np.abs(means) // 16, CAP)
        energies += model.weights[first:last, 12] * np.minimum(16 * np.abs(around[:, :2]).sum(axis=1), CAP)
        centres, mirrored, bins, fractions = contexts_of(means, energies, model.thresholds)
        distances = self._symbols(bins * FRACTIONS + fractions, first) - model.radius[bins]
        beyond = np.flatnonzero(np.abs(distances) == model.radius[bins])
        for index in beyond:
            rest = self._excess()
            distances[index] += rest if distances[index] > 0 else -rest
        values = centres + np.where(mirrored, -distances, distances)
        if beyond.size and np.abs(values).max() > LARGEST:
            raise CodecError(DAMAGED)
        self._values[at] = values
        self._residuals[at] = residuals_of(values, means)

    def _symbols(self, tables: np.ndarray, first: int) -> np.ndarray:
        """The next symbol of each of the channels from `first` on, given the number of its table."""
        found = np.empty(len(tables), np.int64)
        done, lanes = 0, len(self._states)
        above = tables * TOTAL
        while done < len(tables):
            lane = (first + done) % lanes
            until = min(len(tables), done + lanes - lane)
            states = self._states[lane : lane + until - done]
            slots = states & 65_535
            places = self._ends.searchsorted(slots + above[done:until], "right") - 1
            states >>= 16
            states *= self._frequencies[places]
            states += slots
            states -= self._starts[places]
            self._refill(states)
            found[done:until] = places
            done = until
        return found - tables * ROW

    def _refill(self, states: np.ndarray) -> None:
        empty = (states < LOW).nonzero()[0]
        if empty.size:
            words = self._words[self._read : self._read + empty.size]
            if len(words) < empty.size:
                raise CodecError(DAMAGED)
            states[empty] = states[empty] << 16 | words
            self._read += empty.size

    def _excess(self) -> int:
        number, self._taken = read_leb128(self._escapes, self._taken, MAX_EXCESS_BYTES)
        return number
