"""Codec tables made by hand, the same on every machine."""

from __future__ import annotations

import math
from typing import Dict

import numpy as np

from ppsplit.codec.importance import LARGEST_WORTH, SCALES
from ppsplit.codec.tables import FeatureTables, Rung, TensorTables
from ppsplit.codec.transform import TAPS
from tests.codec.integer_model import integer_model


def tensor_tables(channels: int, step: float, rungs: int = 2) -> TensorTables:
    """Components are the channels in steps of `step`; the way back is exact up to rounding."""
    backward = np.zeros((channels, len(TAPS) * channels), np.float32)
    backward[:, :channels] = np.eye(channels) * step
    mean = (np.arange(channels) / 4).astype(np.float32)
    rung = Rung(integer_model(channels), backward)
    worth = np.zeros((SCALES, 3), np.float32)
    worth[0, -1] = math.log(LARGEST_WORTH)  # bytes are cheap, so that little is rounded but to the nearest
    return TensorTables(mean, (np.eye(channels) / step).astype(np.float32), worth, (rung,) * rungs)


def tables_for(channels: Dict[str, int], step: float = 0.5) -> FeatureTables:
    """Of tensors by name and number of channels, with rungs at qualities 30 and 70."""
    return FeatureTables((30, 70), {name: tensor_tables(count, step) for name, count in channels.items()})
