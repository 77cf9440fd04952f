"""What a wavefront coder knows beforehand about the integer maps of one tensor. Integers only.

Fitted on calibration photos by `ppsplit.calibrate`; both halves must hold the same one, and nothing of it is sent.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from ppsplit.errors import CodecError

NEIGHBOURS = 6  # left, up, up-left, up-right, two to the left, two up
FEATURES = 13  # of the energy, in the order of `contexts.features_of`
FRACTIONS = 8  # classes of how far the predicted mean lies from an integer
MAX_RADIUS = 31
ROW = 2 * MAX_RADIUS + 3  # a cumulative table: 2 * MAX_RADIUS + 1 symbols, their end, and one more for the search
TOTAL = 65_536
MAX_CHANNELS, MAX_BINS = 4_096, 256
MAX_PREDICT = 4_096  # sum of a channel's |weights|: the mean then stays within 32 bits
MAX_WEIGHT, MAX_PRIOR, MAX_THRESHOLD = 4_096, 1 << 24, 1 << 30


@dataclass(frozen=True)
class EntropyModel:
    """Probabilities of integer maps [C, H, W], by integers alone, so that every machine gets the same ones.

    Attributes:
        predict: int32 [C, NEIGHBOURS], in 1/256: an element's mean from the values around it.
        prior: int32 [C], in 1/4096: the energy where nothing is around.
        weights: int32 [C, FEATURES], in 1/256: what the surroundings add to the energy.
        thresholds: int32 [B - 1], ascending: they divide energies into B bins.
        radius: int32 [B]: a bin's distances -radius..radius have symbols; the outermost two stand for all beyond.
        cumulative: int32 [B, FRACTIONS, ROW]: from 0 to TOTAL, then TOTAL.
    """

    predict: np.ndarray
    prior: np.ndarray
    weights: np.ndarray
    thresholds: np.ndarray
    radius: np.ndarray
    cumulative: np.ndarray

    def __post_init__(self) -> None:
        channels, bins = len(self.prior), len(self.radius)
        shapes = {
            "predict": (channels, NEIGHBOURS),
            "prior": (channels,),
            "weights": (channels, FEATURES),
            "thresholds": (bins - 1,),
            "radius": (bins,),
            "cumulative": (bins, FRACTIONS, ROW),
        }
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != np.int32 or not array.flags.c_contiguous:
                raise CodecError(f"codec tables: {name} is {array.dtype} {array.shape}, expected int32 {shape}")
        if not (1 <= channels <= MAX_CHANNELS and 1 <= bins <= MAX_BINS):
            raise CodecError(f"codec tables have {channels} channels and {bins} bins; export the bundle again")
        if not (self._limits_hold() and self._tables_are_sound()):
            raise CodecError("codec tables hold values outside their limits; export the bundle again")

    @functools.cached_property
    def price(self) -> np.ndarray:
        """int32 [B, FRACTIONS, ROW - 1], in 1/256: bits of each symbol, for choosing what to send."""
        frequencies = np.maximum(1, np.diff(self.cumulative, axis=-1))
        return np.ascontiguousarray(np.rint(256 * (16 - np.log2(frequencies))).astype(np.int32))

    @property
    def channels(self) -> int:
        """C."""
        return len(self.prior)

    def _limits_hold(self) -> bool:
        """What keeps every sum of the coder within 32 bits."""
        return bool(
            (np.abs(self.predict.astype(np.int64)).sum(axis=1) <= MAX_PREDICT).all()
            and (np.abs(self.weights.astype(np.int64)) <= MAX_WEIGHT).all()
            and (np.abs(self.prior.astype(np.int64)) <= MAX_PRIOR).all()
            and (np.abs(self.thresholds.astype(np.int64)) <= MAX_THRESHOLD).all()
            and (np.diff(self.thresholds) >= 0).all()
            and ((self.radius >= 1) & (self.radius <= MAX_RADIUS)).all()
        )

    def _tables_are_sound(self) -> bool:
        """Every symbol of a bin has a frequency of at least 1, and they sum up to TOTAL."""
        steps = np.diff(self.cumulative.astype(np.int64), axis=-1)
        used = np.arange(ROW - 1) < 2 * self.radius[:, None, None] + 1
        return bool(
            (self.cumulative[..., 0] == 0).all()
            and (self.cumulative[..., -1] == TOTAL).all()
            and (np.where(used, steps > 0, steps == 0)).all()
        )
