"""Rules of bits for layers by their structural names."""

from __future__ import annotations

from typing import Dict, List

import pytest

from ppsplit.errors import ConfigError
from ppsplit.export.freeze import FrozenModel
from ppsplit.export.layers import chosen_bits, layer_paths, parse_rules

PATHS = {"w0": "conv1.conv", "w1": "conv4.conv", "w2": "head32.conv", "w3": "w3"}


def test_layers_have_the_names_of_the_network(skip_model: FrozenModel) -> None:
    assert sorted(layer_paths(skip_model.program, skip_model.stages).values()) == ["coarse", "deep", "fine", "stem"]
    nameless = layer_paths(skip_model.program, {})
    assert all(name == path for name, path in nameless.items()) and len(nameless) == 4


@pytest.mark.parametrize(
    ("texts", "bits"),
    [
        ([], {"w0": 8, "w1": 8, "w2": 8, "w3": 8}),
        (["conv4=4", "conv*=6"], {"w0": 6, "w1": 4, "w2": 8, "w3": 8}),
        (["conv4=4 conv*=6"], {"w0": 6, "w1": 4, "w2": 8, "w3": 8}),
        (["conv*=6", "conv4=4"], {"w0": 6, "w1": 6, "w2": 8, "w3": 8}),  # the first that fits
        (["*.conv=5", "w3=2"], {"w0": 5, "w1": 5, "w2": 5, "w3": 2}),
        (["*=3"], {"w0": 3, "w1": 3, "w2": 3, "w3": 3}),
    ],
)
def test_the_first_rule_that_fits_wins(texts: List[str], bits: Dict[str, int]) -> None:
    assert chosen_bits(PATHS, parse_rules(texts)) == bits


@pytest.mark.parametrize("text", ["conv4", "conv4=", "=4", "conv4=1", "conv4=9", "conv4=four", "conv4=-4", "conv4=²"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no rule"):
        parse_rules([text])


def test_a_rule_that_fits_nothing_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean conv4"):
        chosen_bits(PATHS, parse_rules(["cnv4=4"]))
