"""What can be chosen about a pruning, and what cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List

import pytest

from ppsplit.cli.options import run
from ppsplit.errors import ConfigError
from ppsplit.prune.config import FREE_TO_CHANGE, PruneConfig


def test_defaults() -> None:
    config = PruneConfig()
    assert config.shares() == {"macs": pytest.approx(0.6)} and config.named_ratios() == {}
    plan = PruneConfig(tune_images=99, batch=8, flip=0.25).fine_tuning((416, 320))
    assert (plan.steps, plan.input_sizes, plan.augmentation.flip) == (12, (416, 320), 0.25)


@pytest.mark.parametrize(
    ("chosen", "shares"),
    [
        ({"target_flops": "-25%"}, {"macs": 0.75}),
        ({"target_flops": " -0% "}, {"macs": 1.0}),
        ({"target_flops": "-12.5%", "target_payload": "-99%"}, {"macs": 0.875}),
        ({"target": "edge", "target_payload": "-50%"}, {"edge_macs": 0.6, "payload_elements": 0.5}),
    ],
)
def test_what_may_stay(chosen: Dict[str, Any], shares: Dict[str, float]) -> None:
    assert PruneConfig(**chosen).shares() == pytest.approx(shares)


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        *(
            ({"target_flops": text}, "target_flops is what to save, as in -40%")
            for text in ("40%", "-40", "-100%", "--4%x", "", "-nan%")
        ),
        ({"target": "edge", "target_payload": "40"}, "target_payload is what to save, as in -40%; not '40'"),
        (
            {"ratios": ("conv7",)},
            "a ratio is written NAME=SHARE, as in --ratios conv7=0.5,conv6=0.3, or in a config "
            "`ratios: {conv7: 0.5, conv6: 0.3}`; not 'conv7'",
        ),
        ({"ratios": ("=0.5",)}, "not '=0.5'"),
        ({"ratios": ("conv7=half",)}, "not 'conv7=half'"),
        ({"ratios": ("conv7=0.5",), "steps": 2}, "ratios are reached in one step"),
        ({"max_ap_drop": 1.0}, "needs a labelled set to measure AP on; give --root"),
        ({"steps": 0, "divisor": -8}, "out of range: steps 0, divisor -8;"),
        ({"tune_images": -1}, "tune_images -1"),
        ({"input_sizes": (416, 100)}, "out of range: input_sizes 100;"),
        ({"input_sizes": (0,)}, "input_sizes 0"),
        ({"ema_decay": 1.0}, "ema_decay 1.0"),
    ],
)
def test_what_cannot_be_chosen(chosen: Dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PruneConfig(**chosen)
    assert says in str(caught.value)


def test_ratios_by_name() -> None:
    ratios = {"conv7": 0.5, "stage4.*": 0.25}
    written, mapped = PruneConfig(ratios=("conv7=.5", "stage4.*=0.25")), PruneConfig(ratios=ratios)
    assert written.named_ratios() == mapped.named_ratios() == ratios
    assert written.identity() == mapped.identity()
    assert mapped.identity()["ratios"] == ["conv7=0.5", "stage4.*=0.25"]


@pytest.mark.parametrize("words", [["--ratios", "conv7=0.5,conv6=0.3"], ["--config", "c.yaml"], ["--config", "l.yaml"]])
def test_ratios_as_they_are_typed(words: List[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("ratios: {conv7: 0.5, conv6: 0.3}\n")
    Path("l.yaml").write_text("ratios:\n- conv7=0.5\n- conv6=0.3\n")
    assert run(PruneConfig, words).named_ratios() == {"conv7": 0.5, "conv6": 0.3}


def test_ratios_of_the_wrong_kind(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("ratios: {conv7: half}\n")
    with pytest.raises(ConfigError, match="ratios must be a list of texts or names with numbers as"):
        run(PruneConfig, ["--config", str(tmp_path / "c.yaml")])


def test_what_a_resumed_pruning_may_change() -> None:
    config = PruneConfig()
    free = PruneConfig(output=Path("x"), resume=True, workers=9, save_every=7, json=Path("y"), images=Path("z"))
    assert free.identity() == config.identity()
    assert not set(FREE_TO_CHANGE) & set(config.identity())
    assert PruneConfig(lr=0.1).identity() != config.identity()
