"""A map element by element, where what comes depends on what came: decoding, and choosing integers. By numpy alone.

One step of `codec.wavefront`'s order at a time; `wavefront.c` does the same, faster.
"""

from __future__ import annotations

from typing import NamedTuple, Tuple

import numpy as np

from ppsplit.codec.contexts import CAP, PLACES
from ppsplit.codec.entropy_model import FRACTIONS, ROW, EntropyModel
from ppsplit.codec.leb128 import DAMAGED, read_leb128
from ppsplit.codec.rans import WordReader
from ppsplit.errors import CodecError

LAG = 2
MAX_EXCESS_BYTES = 3
ESCAPE_PRICE = 2_048  # 8 bits, as most escapes have one byte
BEHIND = 8  # channels that the energy looks back at


class _Step(NamedTuple):
    """Of the channels that have an element in a step: where it is, and its context."""

    at: np.ndarray
    means: np.ndarray
    centres: np.ndarray
    signs: np.ndarray
    tables: np.ndarray
    radius: np.ndarray


class _Walk:
    """A map that fills, in the order of coding."""

    def __init__(self, shape: Tuple[int, int, int], model: EntropyModel) -> None:
        self.shape, self.model = shape, model
        channels, height, width = shape
        self.count = height * width
        self.steps = self.count + LAG * (channels - 1)
        self._row, plane = width + 4, (height + 2) * (width + 4)
        # channels of zeros in front, so that every channel has all channels before it
        size = (channels + BEHIND) * plane
        self._maps = np.zeros(2 * size, np.int32)  # the values, then their residuals
        self.values, self._residuals = self._maps[:size], self._maps[size:]
        positions = np.arange(self.count)
        self._place = (positions // width + 2) * self._row + positions % width + 2
        self._planes = (np.arange(channels) + BEHIND) * plane
        own = [self._row * down + right for down, right in PLACES]
        before = [-plane * distance for distance in range(1, BEHIND + 1)]
        beside = [-plane - 1, -plane - self._row, -plane + 1]
        which = [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 9, 9, 9, 10, 10, 10]
        self._offsets = np.array([*own, *(size + offset for offset in (*own, *before, *beside))])
        self._weights = np.ascontiguousarray(model.weights[:, which])

    def channels_of(self, step: int) -> Tuple[int, int]:
        """The channels that have an element in this step: from the first to before the last."""
        return 0 if step < self.count else (step - self.count) // LAG + 1, min(step // LAG + 1, self.shape[0])

    def context(self, step: int, first: int, last: int) -> _Step:
        """As `contexts.contexts_of`, of the elements of one step."""
        model = self.model
        positions = np.arange(step - LAG * first, step - LAG * last, -LAG)
        at = self._planes[first:last] + self._place[positions]
        around = self._maps.take(at[:, None] + self._offsets)
        own, residuals = around[:, : len(PLACES)], around[:, len(PLACES) :]
        means = np.einsum("ck,ck->c", model.predict[first:last], own)
        energies = np.einsum("ck,ck->c", self._weights[first:last], residuals)
        energies += model.prior[first:last]
        energies += model.weights[first:last, 11] * np.minimum(np.abs(means) >> 4, CAP)
        sizes = np.abs(own[:, 0]) + np.abs(own[:, 1])
        energies += model.weights[first:last, 12] * np.minimum(sizes << 4, CAP)
        centres = (means + 128) >> 8
        fractions = means - (centres << 8)
        bins = model.thresholds.searchsorted(energies, side="right")
        tables = bins * FRACTIONS
        tables += np.minimum(np.abs(fractions) >> 4, FRACTIONS - 1)
        signs = np.where(fractions < 0, -1, 1)
        return _Step(at, means, centres, signs, tables, model.radius.take(bins))

    def put(self, step: _Step, values: np.ndarray) -> None:
        """The values of one step, which the following ones see."""
        self.values[step.at] = values
        self._residuals[step.at] = np.minimum(np.abs((values << 8) - step.means) >> 4, CAP)

    def result(self) -> np.ndarray:
        """int32 [C, H, W]."""
        channels, height, width = self.shape
        maps = self.values.reshape(channels + BEHIND, height + 2, self._row)
        return np.ascontiguousarray(maps[BEHIND:, 2:, 2 : 2 + width])


class Decoder:
    """One coded map; `largest` bounds its integers."""

    def __init__(
        self, escapes: bytes, coded: bytes, shape: Tuple[int, int, int], model: EntropyModel, largest: int
    ) -> None:
        self._reader = WordReader(coded, shape[0], model)
        self._walk, self._largest = _Walk(shape, model), largest
        self._escapes, self._taken = escapes, 0

    def decode(self) -> np.ndarray:
        """int32 [C, H, W]. Raises CodecError."""
        walk = self._walk
        for number in range(walk.steps):
            first, last = walk.channels_of(number)
            step = walk.context(number, first, last)
            distances = self._reader.symbols(step.tables, first) - step.radius
            beyond = np.flatnonzero(np.abs(distances) == step.radius)
            for index in beyond:
                rest, self._taken = read_leb128(self._escapes, self._taken, MAX_EXCESS_BYTES)
                distances[index] += rest if distances[index] > 0 else -rest
            values = step.centres + step.signs * distances
            if beyond.size and np.abs(values).max() > self._largest:
                raise CodecError(DAMAGED)
            walk.put(step, values)
        if not self._reader.is_finished() or self._taken != len(self._escapes):
            raise CodecError(DAMAGED)
        return walk.result()


class Chooser:
    """Integers near components, as `wavefront.encode_components` says; `fixed` are these in 1/256."""

    def __init__(self, fixed: np.ndarray, worth: np.ndarray, trade: int, model: EntropyModel, largest: int) -> None:
        self._walk = _Walk((fixed.shape[0], fixed.shape[1], fixed.shape[2]), model)
        self._components, self._worth = fixed.reshape(len(fixed), -1).astype(np.int64), worth.ravel().astype(np.int64)
        self._price = model.price.ravel().astype(np.int64)
        self._trade, self._largest = trade, largest

    def choose(self) -> np.ndarray:
        """int32 [C, H, W]."""
        walk = self._walk
        for number in range(walk.steps):
            first, last = walk.channels_of(number)
            step = walk.context(number, first, last)
            channels = np.arange(first, last)
            positions = number - LAG * channels
            values = self._cheapest(step, self._components[channels, positions], self._worth[positions])
            walk.put(step, values.astype(np.int32))
        return walk.result()

    def _cheapest(self, step: _Step, components: np.ndarray, worth: np.ndarray) -> np.ndarray:
        near = np.clip((components + 128) >> 8, -self._largest, self._largest)
        tries = np.empty((4, len(near)), np.int64)
        tries[0], tries[1] = near, near + np.where(components >= near << 8, 1, -1)
        tries[2], tries[3] = 0, step.centres
        np.clip(tries, -self._largest, self._largest, out=tries)
        errors = components - (tries << 8)
        distances = (tries - step.centres) * step.signs
        clipped = np.clip(distances, -step.radius, step.radius)
        prices = self._price.take(clipped + (step.tables * (ROW - 1) + step.radius))
        prices += ESCAPE_PRICE * (np.abs(distances) >= step.radius)
        costs = errors * errors * worth + self._trade * prices
        return tries[costs.argmin(axis=0), np.arange(len(near))]
