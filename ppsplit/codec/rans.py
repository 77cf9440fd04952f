"""Symbols to 16-bit words and back (Duda, "Asymmetric numeral systems", 2013), some states at once.

States have 32 bits; channel c of a map belongs to state c mod LANES, and all states share one stream of words. The
stream ends with every state at its initial value.
"""

from __future__ import annotations

from typing import Tuple

import numpy as np

from ppsplit.codec.entropy_model import ROW, TOTAL, EntropyModel
from ppsplit.codec.leb128 import DAMAGED
from ppsplit.errors import CodecError

LANES, LOW = 16, 65_536


def to_words(
    starts: np.ndarray, frequencies: np.ndarray, lane_of: np.ndarray, lanes: int
) -> Tuple[np.ndarray, np.ndarray]:
    """Final states and words. The states do not depend on each other, so they advance together, last symbol first.

    Args:
        starts, frequencies: int64 [N], of the symbols in the order of coding.
        lane_of: int64 [N], the state of each.
        lanes: how many states there are.
    """
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


class WordReader:
    """The states and words of a coded map of some channels, taken symbol by symbol.

    Raises:
        CodecError: too short for the states, or they are none.
    """

    def __init__(self, coded: bytes, channels: int, model: EntropyModel) -> None:
        lanes = min(LANES, channels)
        if len(coded) < 4 * lanes or len(coded) % 2:
            raise CodecError(DAMAGED)
        self._states = np.frombuffer(coded, "<u4", lanes).astype(np.int64)
        self._words = np.frombuffer(coded, "<u2", offset=4 * lanes).astype(np.int64)
        self._read = 0
        if (self._states < LOW).any():
            raise CodecError(DAMAGED)
        self._starts = model.cumulative.ravel().astype(np.int64)
        self._frequencies = np.append(np.diff(self._starts), 0)
        # all tables one after the other, ascending, so that one search finds the symbols of several tables
        self._ends = self._starts + np.repeat(np.arange(len(self._starts) // ROW) * TOTAL, ROW)

    def symbols(self, tables: np.ndarray, first: int) -> np.ndarray:
        """The next symbol of each of the channels from `first` on, given the number of its table. Raises CodecError."""
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

    def is_finished(self) -> bool:
        """Whether all words were taken, and the states are where they began."""
        return self._read == len(self._words) and bool((self._states == LOW).all())
