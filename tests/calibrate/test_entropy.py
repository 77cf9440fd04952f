"""The entropy model fitted to examples: sound tables, and fewer bytes than each channel's own entropy."""

from __future__ import annotations

import numpy as np
import pytest

from ppsplit.calibrate.entropy import fit_entropy_model
from ppsplit.codec.wavefront import decode_map, encode_map
from ppsplit.errors import CalibrationError
from tests.codec.integer_model import smooth_map


def test_a_map_like_the_examples_takes_less_than_its_entropy_without_context() -> None:
    model = fit_entropy_model([smooth_map(20, 26, 26, scale=6.0, seed=seed) for seed in range(1, 9)])
    values = smooth_map(20, 26, 26, scale=6.0)
    alone = 0.0
    for channel in values:
        shares = np.unique(channel, return_counts=True)[1] / channel.size
        alone -= channel.size * (shares * np.log2(shares)).sum() / 8
    data = encode_map(values, model)
    assert len(data) < 0.97 * alone
    np.testing.assert_array_equal(decode_map(data, values.shape, model), values)


def test_a_map_unlike_the_examples_comes_back_all_the_same() -> None:
    model = fit_entropy_model([np.zeros((4, 5, 6), np.int32)])
    values = smooth_map(4, 9, 7, scale=900.0)
    np.testing.assert_array_equal(decode_map(encode_map(values, model), values.shape, model), values)


def test_all_of_one_value_costs_next_to_nothing() -> None:
    values = np.zeros((64, 26, 26), np.int32)
    assert len(encode_map(values, fit_entropy_model([values] * 8))) < 64 + 64


@pytest.mark.parametrize("maps", [[], [np.zeros((3, 4, 4), np.int32), np.zeros((4, 4, 4), np.int32)]])
def test_examples_that_do_not_belong_together(maps: list) -> None:
    with pytest.raises(CalibrationError):
        fit_entropy_model(maps)
